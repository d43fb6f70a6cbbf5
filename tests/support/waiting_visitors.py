"""An app that is full, and visitors who wait for a place in it, as their pages do."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import websocket

from support.real_site import Reply, Site
from support.waiting import PATIENCE, until

# Its page tells who serves it, and which query it has seen; it accepts each websocket.
APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "here"})
    elif scope["type"] == "http":
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = f"<head></head>{os.environ['STICKY_WORKER']}?{scope['query_string'].decode()}"
        await send({"type": "http.response.body", "body": body.encode()})
"""


def full_site(make, start: bool = True, **app) -> Site:
    """A site with that app; full once somebody has filled it.

    Args:
        make: makes sites.
        start: whether to start it.
        app: its settings.
    """
    site = make({"app": {"target": "app.py", "workers": 2, "max_sessions": 1, **app}})
    (site.folder / "app.py").write_text(APP)
    return site.start() if start else site


def fill(site: Site, number: int = 2) -> list[websocket.WebSocket]:
    """Open so many sessions, and wait until the launcher knows."""
    sessions = [site.websocket() for _ in range(number)]
    until(lambda: app_status(site)["sessions"] == number, "the launcher knows")
    return sessions


def app_status(site: Site, name: str = "app") -> dict:
    (found,) = [app for app in site.status()["apps"] if app["name"] == name]
    return found


def visit(site: Site, query: str = "", cookie: str | None = None, path: str = "/", **headers: str) -> Reply:
    """Come for the page, as a browser does."""
    sent = {"Accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return site.ask(f"{path}{'?' if query else ''}{query}", cookie=cookie, headers=sent)


@dataclass
class Waiting:
    """Somebody who waits.

    Args:
        site: where.
        path: of the app.

    Attributes:
        ticket: what to ask with next.
        place: in line.
        again: seconds until then.
        admission: once it is their turn.
    """

    site: Site
    path: str = "/"
    ticket: str = "none"
    place: int = 0
    again: int = 0
    admission: str = ""
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def ask(self) -> Waiting:
        """Ask for the place once."""
        with self._asking:
            return self._ask()

    def keep_asking(self, left: threading.Event) -> None:
        """Ask again and again, as a page does whatever else goes on, until it is their turn, or they have left."""
        while not left.wait(0.5):
            with self._asking, contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                if self.admission or self._ask().admission:
                    return

    def _ask(self) -> Waiting:
        def answer() -> Reply | None:
            reply = self.site.ask(f"{self.path}sticky-place?ticket={self.ticket}")
            return reply if reply.status == 200 else None

        reply = until(answer, "the launcher, which has just begun to serve, answers")
        assert reply.headers["Cache-Control"] == "no-store"
        for name, value in json.loads(reply.body).items():
            setattr(self, name, value)
        return self

    def enters(self, *others: Waiting) -> str:
        """Wait for the turn, while others wait, too; then load the page. Gives the cookie."""

        def is_turn() -> str:
            for other in others:
                other.ask()
            return self.ask().admission

        until(is_turn, "it is their turn", PATIENCE)
        reply = visit(self.site, f"a=b&sticky-admission={self.admission}", path=self.path)
        assert reply.status == 200
        assert re.search(rb"</head>app\d\?a=b$", reply.body)
        return f"sticky={reply.assigned}"


@contextlib.contextmanager
def in_line(site: Site, number: int) -> Iterator[list[Waiting]]:
    """So many who come one after another, and wait until the end of a block, or for their turn.

    Args:
        site: where.
        number: of visitors.
    """
    everybody = [Waiting(site) for _ in range(number)]
    left = threading.Event()
    pages = [threading.Thread(target=one.keep_asking, args=[left]) for one in everybody]
    try:
        for one, page in zip(everybody, pages, strict=True):
            one.ask()
            page.start()
        yield everybody
    finally:
        left.set()
        for page in pages:
            if page.is_alive():
                page.join()
