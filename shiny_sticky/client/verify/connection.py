"""Checks of the websocket: does it pass, how long may it be silent, who may open it, what is it like to lose it."""

from __future__ import annotations

import json
import time

from shiny_sticky.client.shiny_protocol import NO_SUCH_ROUTE, NoSession, ShinySession, websocket_of
from shiny_sticky.client.verify.plan import spoken
from shiny_sticky.client.verify.run import Run
from shiny_sticky.client.visitor import NotAnswered
from shiny_sticky.client.websocket import Closed, Refused, WebSocket

# Whose page no site but itself can be.
FOREIGN = "https://elsewhere.example"

# Of shiny-sticky's protocol by which a page goes on in its session (docs/resume.md): the subprotocol, and the first
# byte of what is said.
RESUMABLE = "resume.shiny-sticky"
HELLO, RESUME, RESUMED, ACK, BYE = (bytes([number]) for number in (1, 2, 3, 4, 7))

RESUME_SECONDS = 20

# A silence that no page is likely to exceed without a word of somebody's.
LONG = 300


class SilentTab:
    """A tab that is opened first, and left alone while other checks are made.

    Args:
        run: whose checks these are.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.session: ShinySession | None = None

    def open(self) -> bool:
        """Check that the websocket passes; whether it does."""
        visitor = self.run.visitor()
        try:
            visitor.ask(self.run.address)
            session = ShinySession(visitor, self.run.address).open()
        except (Refused, NoSession, NotAnswered) as error:
            what = f"The websocket {error}" if isinstance(error, Refused) else f"No session begins: {error}"
            self.run.bad("websocket", what, status=getattr(error, "status", None))
            return False
        self.session = session
        self.run.good("websocket", "The websocket passes, and a session begins")
        return True

    def wait(self) -> None:
        """Check that the websocket stays open, however long nobody says anything."""
        assert self.session is not None
        patience = self.run.plan.patience
        with self.run.report.progress(f"Waiting whether a silent websocket lives for {spoken(patience)} ..."):
            silence = self._silence(patience)
        facts = {"seconds": round(silence, 3), "pings": self.session.pings, "code": self.session.code}
        if self.session.code is not None:
            says = f"A websocket is closed ({self.session.code}) after a silence of {spoken(silence)}"
            self.run.bad("idle", says, **facts)
        elif silence < patience:
            says = f"The app is never silent for {spoken(patience)}: no idle limit can end its websockets meanwhile"
            self.run.none("idle", says, **facts)
        else:
            pings = f"{self.session.pings or 'no'} ping{'s' * (self.session.pings != 1)}"
            says = f"A websocket stays open through a silence of {spoken(patience)} ({pings} of the server's)"
            self.run.good("idle", says + "; --patience 5m waits longer" * (patience < LONG), **facts)
        self.session.close()

    def _silence(self, patience: float) -> float:
        """Wait for a silence, or the websocket's end; gives how many seconds the last silence has lasted.

        Shiny sends something to this tab whenever another one does something: it is silent once those are.
        """
        assert self.session is not None
        given_up = time.monotonic() + 2 * patience
        while (now := time.monotonic()) < given_up and now < self.session.heard + patience:
            if self.session.wait(min(self.session.heard + patience, given_up) - now):
                break
        return time.monotonic() - self.session.heard


def check_origin(run: Run) -> None:
    """Look whether a page of another site may open a websocket."""
    visitor = run.visitor()
    try:
        opened = visitor.open_websocket(websocket_of(run.address), FOREIGN)
    except Refused as refused:
        run.good(
            "origin", f"A page of another site is refused a websocket ({refused.status})", status=refused.status
        )
        return
    except NotAnswered as error:
        run.good("origin", f"A page of another site is refused a websocket ({error})", status=None)
        return
    opened.close()
    run.bad("origin", "A page of another site may open a websocket: its Origin is not looked at", status=101)


def check_reconnect(run: Run) -> None:
    """Look what becomes of a page whose network goes away for a moment."""
    visitor = run.visitor()
    session = ShinySession(visitor, run.address)
    try:
        visitor.ask(run.address)
        session.open()
        before = session.process
        session.cut()
        began = time.monotonic()
        session = ShinySession(visitor, run.address).open()
        seconds = time.monotonic() - began
        reached = visitor.ask(session.route_address()).status == NO_SUCH_ROUTE
    except (Refused, NoSession, NotAnswered) as error:
        run.bad("reconnect", f"After its connection was cut, a page begins no new session: {error}")
        return
    finally:
        session.close()
    same = f" in {'the same' if session.process == before else 'another'} process" if before else ""
    facts = {"seconds": round(seconds, 3), "resumed": _is_resumed(run)}
    if not reached:
        run.bad(
            "reconnect",
            "After its connection was cut, a page's new session is not reached by its requests",
            **facts,
        )
    elif facts["resumed"]:
        run.good("reconnect", "A page whose connection is cut goes on in the same session", **facts)
    else:
        says = f"A page whose connection is cut begins a new session{same} in {spoken(seconds)}"
        run.good("reconnect", f"{says}; its old one is lost", **facts)


def _is_resumed(run: Run) -> bool:
    """Whether a page goes on in its session, as those of shiny-sticky do."""
    visitor = run.visitor()
    page = run.address
    try:
        first = visitor.open_websocket(websocket_of(page), page.origin, RESUMABLE)
        if first.subprotocol != RESUMABLE:
            first.close()
            return False
        told = _told(first.receive(RESUME_SECONDS), HELLO)
        first.send(ACK + b"0")
        first.cut()
        second = visitor.open_websocket(page.relative(f"session/{told['session']}/resume"), page.origin, RESUMABLE)
        return _resumes(second, told["secret"])
    except (Refused, NotAnswered, Closed, TimeoutError, KeyError, ValueError):
        return False


def _resumes(websocket: WebSocket, secret: str) -> bool:
    websocket.send(RESUME + json.dumps({"secret": secret, "next": 0}).encode())
    try:
        return "secret" in _told(websocket.receive(RESUME_SECONDS), RESUMED)
    finally:
        websocket.send(BYE)
        websocket.close()


def _told(message: str | bytes, kind: bytes) -> dict[str, str]:
    """What a message of the protocol says.

    Raises:
        ValueError: it is another one.
    """
    if not isinstance(message, bytes) or message[:1] != kind:
        raise ValueError("another message")
    told = json.loads(message[1:])
    if not isinstance(told, dict):
        raise ValueError("no object")
    return told
