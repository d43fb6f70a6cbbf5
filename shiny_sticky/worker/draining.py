"""What a worker is serving, and when it may end: the worker's side of a deploy (supervision/deploy.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .asgi import ASGIApp, Message, Receive, Scope, Send
from .gate import GateState
from .notices import Notices
from .visitors import Visitors, is_page

# Seconds that a websocket's handshake has a place for, in which the app accepts or refuses it.
HANDSHAKE_SECONDS = 10


class WorkerState:
    """What a worker is serving; made once, and known to all that count, ask or change it.

    Args:
        max_sessions: websockets that may be open at a time; 0 is no limit.
        visitors: those who have no session yet.
        isolated: whether one session is all that it ever has; the launcher ends it when that is over.

    Attributes:
        notices: what pages are told beside what the app says.
        gate: whether new visitors come in.
        handshakes: websockets that the app has neither accepted nor refused; each has a place, or more sessions
            could come of them than may be.
        sessions: websockets that are open now.
        suspended: sessions that have lost their connection, and wait for their page.
        sessions_served: websockets accepted since the start.
        requests: HTTP requests in progress.
        draining: new sessions are refused, and each response closes its connection.
        before_exit: what is called when the server is about to close all connections.
        on_change: called when there are more or fewer sessions, or some are about to come.
    """

    def __init__(self, max_sessions: int = 0, visitors: Visitors | None = None, isolated: bool = False) -> None:
        self.notices = Notices()
        self.gate = GateState()
        self.visitors = visitors or Visitors("", "")
        self.max_sessions = max_sessions
        self.isolated = isolated
        self.handshakes = 0
        self.sessions = 0
        self.suspended = 0
        self.sessions_served = 0
        self.requests = 0
        self.draining = False
        self._last_end = time.monotonic()
        self.before_exit: list[Callable[[], None]] = []
        self.on_change: Callable[[], None] = lambda: None
        self._idle: asyncio.Event | None = None
        self._waiting_for_drain: list[asyncio.Event] = []

    @property
    def full(self) -> bool:
        """Whether no other session is welcome."""
        used_up = self.isolated and self.sessions_served > 0
        return self.draining or used_up or 0 < self.max_sessions <= self.sessions + self.handshakes

    @property
    def _open(self) -> int:
        """How much is open: handshakes, sessions, and requests."""
        return self.handshakes + self.sessions + self.requests

    @property
    def idle_seconds(self) -> float:
        """Seconds for which nothing has been open."""
        return 0.0 if self._open else time.monotonic() - self._last_end

    @property
    def expected(self) -> int:
        """The sessions that are about to come."""
        return self.handshakes + self.visitors.expected

    def start_draining(self) -> None:
        """Take no new sessions, and tell who waits for that."""
        self.draining = True
        for event in self._waiting_for_drain:
            event.set()

    async def drain_started(self) -> None:
        """Wait until the worker begins to drain."""
        event = asyncio.Event()
        self._waiting_for_drain.append(event)
        try:
            if not self.draining:
                await event.wait()
        finally:
            self._waiting_for_drain.remove(event)

    def something_ended(self) -> None:
        """Look whether anything is open still, after a handshake, session or request has ended."""
        self._last_end = time.monotonic()
        if self._idle is not None and not self._open:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is open."""
        self._idle = asyncio.Event()  # not before: Python 3.9 binds it to the event loop of the moment
        self.something_ended()
        await self._idle.wait()


class ConnectionTracker:
    """Counts what an app is serving.

    Args:
        app: the ASGI app.
        state: has the counts, and whether the worker drains.
    """

    def __init__(self, app: ASGIApp, state: WorkerState) -> None:
        self.app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, and count it."""
        state = self._state
        if scope["type"] == "http":
            state.requests += 1
            send = self._noting_page(scope, send) if scope["method"] == "GET" else send
            try:
                await self.app(scope, receive, _closing(send) if state.draining else send)
            finally:
                state.requests -= 1
                state.something_ended()
        elif scope["type"] == "websocket":
            state.visitors.handshake(scope)
            place = _Place(state)
            try:
                await self.app(scope, receive, place.following(send))
            finally:
                place.leave()
        else:
            await self.app(scope, receive, send)

    def _noting_page(self, scope: Scope, send: Send) -> Send:
        """Let a response be counted if it is a page."""

        async def send_noting(message: Message) -> None:
            if message["type"] == "http.response.start" and is_page(message):
                self._state.visitors.page(scope)
                self._state.on_change()
            await send(message)

        return send_noting


class _Place:
    """The place of a websocket in its worker: its handshake's, and once the app has accepted it, its session's.

    An app that never answers a handshake does not hold a place for ever.

    Args:
        state: has the counts.
    """

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._has_session = False
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            HANDSHAKE_SECONDS, self._end_handshake
        )
        state.handshakes += 1
        state.on_change()

    def following(self, send: Send) -> Send:
        """The `send` of the websocket, by which the app accepts or refuses it."""

        async def send_following(message: Message) -> None:
            await send(message)
            if message["type"] == "websocket.accept":
                self._begin_session()
            else:
                self._end_handshake()

        return send_following

    def leave(self) -> None:
        """The app has done with it."""
        self._end_handshake()
        if self._has_session:
            self._has_session = False
            self._state.sessions -= 1
            self._state.something_ended()
            self._state.on_change()

    def _begin_session(self) -> None:
        self._has_session = True
        self._state.sessions += 1
        self._state.sessions_served += 1
        self._end_handshake()

    def _end_handshake(self) -> None:
        """Nothing more comes of the handshake; that may be known already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._state.handshakes -= 1
            self._state.something_ended()
            self._state.on_change()


def _closing(send: Send) -> Send:
    """Let the response end its connection, so that nginx sends nothing more on it."""

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return send_closing
