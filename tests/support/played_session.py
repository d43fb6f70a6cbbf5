"""A resumable session whose two ends are the real ones, and whose network and clocks are played.

The worker's end is its middleware, on an event loop whose time jumps; the page's is resume.js, in the node that
Playwright brings, with a clock that is set. What is between them are lists, so each step is a test's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright._impl._driver import compute_driver_executable

from shiny_sticky.worker.draining import WorkerState
from shiny_sticky.worker.resume.middleware import ResumeMiddleware
from shiny_sticky.worker.resume.session import Limits, Session
from shiny_sticky.worker.resume.sessions import Sessions
from support import virtual_clock

PLAYED_PAGE = Path(__file__).with_name("played_page.js")
RESUME_JS = Path(__file__).parents[2] / "shiny_sticky" / "worker" / "resume" / "resume.js"

LOST = {"close": 1006}


class Node:
    """Plays pages, one after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **told: object) -> dict[str, Any]:
        """Let the page do something; gives what it has done, and how far it is."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **told}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the page's script has failed; see above"
        return json.loads(answer)


@contextlib.contextmanager
def node() -> Iterator[Node]:
    """Have pages played."""
    command = [compute_driver_executable()[0], PLAYED_PAGE, RESUME_JS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Node(process)
        process.stdin.close()


class Line:
    """One connection between the two, with what is on its way: it comes in the order in which it was sent.

    Attributes:
        to_page: messages that the page has not got yet, `{"open": …}` before and `{"close": code}` after them.
        to_worker: likewise, `{"connect": path}` and `{"close": code}`.
        silent: nothing gets through any more, and nobody says so.
        drained: not set while the worker waits for what it has sent to leave.
    """

    def __init__(self, path: str) -> None:
        self.to_page: deque[dict] = deque()
        self.to_worker: deque[dict] = deque([{"connect": path}])
        self.silent = self.page_closes = self.page_is_off = self.worker_is_off = False
        self.drained = asyncio.Event()
        self.drained.set()
        self.inbox: asyncio.Queue[dict] = asyncio.Queue()

    def from_page(self, message: dict) -> None:
        """Have a message of the page's on its way."""
        if not self.silent:
            self.to_worker.append(message)

    def page_closed(self, code: int) -> None:
        """The page closes it, and hears of its end later."""
        self.page_closes = True
        self.from_page({"close": code})
        self.to_page.append({"close": code})

    def lost(self, at_once: bool) -> None:
        """It is lost, and both will hear of it; what is on its way is lost as well, or not."""
        for way in (self.to_page, self.to_worker):
            if at_once:
                way.clear()
            way.append(LOST)

    def fall_silent(self) -> None:
        """It is lost, and nobody hears of it."""
        self.silent = True
        self.to_page.clear()
        self.to_worker.clear()
        if self.page_closes:
            self.to_page.append(LOST)

    async def send(self, message: dict) -> None:
        """As of an ASGI server."""
        if self.worker_is_off:
            raise OSError("the connection is closed")
        if message["type"] == "websocket.close":
            self._worker_closes(message["code"])
            return
        if not self.silent:
            self.to_page.append(_as_it_goes(message))
        await self.drained.wait()

    def hear_in_worker(self, message: dict) -> None:
        """Let the worker have a message."""
        if "close" in message:
            self._worker_loses(message["close"])
        elif not self.worker_is_off:
            self.inbox.put_nowait({"type": "websocket.receive", **_as_asgi(message)})

    def _worker_closes(self, code: int) -> None:
        if not self.silent:
            self.to_page.append({"close": code})
        self._worker_loses(code)

    def _worker_loses(self, code: int) -> None:
        if not self.worker_is_off:
            self.worker_is_off = True
            self.drained.set()
            self.inbox.put_nowait({"type": "websocket.disconnect", "code": code})


def _as_it_goes(message: dict) -> dict:
    """What the server sends for an ASGI message."""
    if message["type"] == "websocket.accept":
        return {"open": message.get("subprotocol") or ""}
    return _as_played(message)


def _as_played(message: dict) -> dict:
    """An ASGI message's content."""
    content = message.get("bytes")
    return {"text": message["text"]} if content is None else {"hex": content.hex()}


def _as_asgi(message: dict) -> dict:
    """Likewise the other way round."""
    return {"bytes": bytes.fromhex(message["hex"])} if "hex" in message else {"text": message["text"]}


# With these no session is given up that a test may wait for.
PATIENT = Limits(timeout=3600, buffer=1 << 22, unknown=3600)


class NotedSessions(Sessions):
    """Knows which is whose."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, 100, WorkerState())
        self.of_app: dict[asyncio.Task | None, Session] = {}

    def new(self, user: Any) -> Session:
        self.of_app[asyncio.current_task()] = session = super().new(user)
        return session


class AppSession:
    """What the app sees of a page: what it was asked to send, has sent, and has got.

    Args:
        session: that carries it.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.wanted: asyncio.Queue[dict] = asyncio.Queue()
        self.sent: list[dict] = []
        self.taken: list[dict] = []

    async def send_all(self, send: Any) -> None:
        while True:
            message = await self.wanted.get()
            self.sent.append(message)
            await send({"type": "websocket.send", **_as_asgi(message)})


class PlayedSession:
    """A page and its worker.

    Args:
        node: plays the page.
        limits: of the worker.

    Attributes:
        lines: the connections that the page has made.
        sent: by the page.
        taken: by the page.
        page: how far it is.
        apps: what the app sees; more than one if the page has begun anew.
    """

    def __init__(self, node: Node, limits: Limits = PATIENT) -> None:
        self._node = node
        self._serving: list[asyncio.Task] = []
        self._sessions = NotedSessions(limits)
        self._middleware = ResumeMiddleware(self._app, "app1.abcd", self._sessions)
        self.lines: list[Line] = []
        self.sent: list[dict] = []
        self.taken: list[dict] = []
        self.ended: int | None = None
        self.apps: list[AppSession] = []
        self.page: dict[str, Any] = {}
        self.ask("begin")

    @property
    def app(self) -> AppSession | None:
        """What the app sees of the session that the page knows; None while it knows none."""
        name = self.page["session"] or ""
        return next((app for app in self.apps if app.session.id in name), None)

    # --- what can happen

    def page_sends(self, message: dict) -> None:
        if self.page["opened"]:  # Shiny waits for that, too
            self.sent.append(message)
            self.ask("send", **message)

    async def app_sends(self, message: dict) -> None:
        app = self.app or (self.apps[-1] if self.apps else None)
        if app is not None:
            app.wanted.put_nowait(message)
            await settled()

    async def arrives_at_worker(self, line: Line) -> None:
        """Let the worker have what was sent first of what is on its way to it."""
        if not line.to_worker:
            return
        message = line.to_worker.popleft()
        if "connect" in message:
            self._serve(line, message["connect"])
        else:
            line.hear_in_worker(message)
        await settled()

    def arrives_at_page(self, line: Line) -> None:
        """Likewise the page."""
        if not line.to_page or line.page_is_off:
            line.to_page.clear()
            return
        message, number = line.to_page.popleft(), self.lines.index(line)
        if "open" in message:
            self.ask("open", line=number, protocol=message["open"])
        elif "close" in message:
            line.page_is_off = True
            self.ask("lose", line=number, code=message["close"])
        else:
            self.ask("hear", line=number, **message)

    async def passes(self, seconds: float) -> None:
        """Let time pass at both ends."""
        self.ask("pass", ms=1000 * seconds)
        await asyncio.sleep(seconds)
        await settled()

    async def computes(self, seconds: float) -> None:
        """Let the app keep the worker's event loop for a time."""
        self.ask("pass", ms=1000 * seconds)
        virtual_clock.block(seconds)
        await settled()

    async def heal(self, seconds: float, healed: Callable[[], bool]) -> None:
        """Have a good network from now on, until all is well or some time has passed; what is silent stays so."""
        for line in self.lines:
            line.drained.set()
        for _ in range(int(2 * seconds)):
            while any(line.to_worker or line.to_page for line in self.lines):
                for line in list(self.lines):
                    await self.arrives_at_worker(line)
                    self.arrives_at_page(line)
            if healed():
                return
            await self.passes(0.5)

    def ask(self, do: str, **told: object) -> None:
        """Let the page do something, and have what it sends on its way."""
        self.page = self._node.ask(do, **told)
        for act, about, *what in self.page["acts"]:
            if act == "connect":
                self.lines.append(Line(what[0]))
            elif act == "say":
                self.lines[about].from_page(what[0])
            elif act == "close":
                self.lines[about].page_closed(what[0])
            elif act == "take":
                self.taken.append(about)
            else:
                self.ended = about

    # ---

    def _serve(self, line: Line, path: str) -> None:
        scope = {"type": "websocket", "path": path, "headers": [], "subprotocols": ["resume.shiny-sticky"]}
        line.inbox.put_nowait({"type": "websocket.connect"})
        self._serving.append(asyncio.create_task(self._middleware(scope, line.inbox.get, line.send)))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        app = AppSession(self._sessions.of_app[asyncio.current_task()])
        self.apps.append(app)
        sending = asyncio.create_task(app.send_all(send))
        while (message := await receive())["type"] == "websocket.receive":
            app.taken.append(_as_played(message))
        sending.cancel()


async def settled() -> None:
    """Let the worker do all that there is to do: the clock jumps only when nothing is."""
    await asyncio.sleep(1e-6)
