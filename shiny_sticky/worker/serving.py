"""Serving an app with uvicorn on the socket that the launcher bound."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from .launcher import Launcher

# nginx closes idle connections to a worker after 60 s. The worker waits longer, so that it never closes one
# that nginx is just sending a request on: a POST could not be repeated.
KEEP_ALIVE_SECONDS = 75

BEAT_SECONDS = 1


class Mounted:
    """Tells an app which path it is mounted at: ASGI's ``root_path``, which stands at the start of ``path``.

    Args:
        app: the ASGI app.
        path: such as ``/foo``, with no slash at its end.
    """

    def __init__(self, app: Any, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "root_path": self.path}
        await self.app(scope, receive, send)


class Corked:
    """A transport that gathers what is written in one step of the event loop, and sends it in one piece.

    Uvicorn writes a response's head and body one after the other. A worker killed in between would leave nginx
    with a head and no body: too late to ask another worker for the page. It also saves a system call.

    Args:
        transport: the real one; all but writing goes straight to it.
        loop: the event loop.
    """

    # More than this is sent at once, so that streams are not copied together.
    LARGEST = 64 * 1024

    def __init__(self, transport: Any, loop: Any) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, together with what else is written in this step."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)
        self._size += len(data)
        if self._size > self.LARGEST:
            self._flush()

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending, self._size = [], 0
            self._transport.write(data)


def behind_nginx(protocol: Any, gate: Gate) -> Any:
    """A uvicorn HTTP protocol class that writes through :class:`Corked`, and hangs up on sessions it cannot take.

    nginx hands a websocket's handshake to the next worker when this one closes the connection without an answer. No
    status could say the same: the app may use any of them itself.

    Args:
        protocol: uvicorn's own class.
        gate: knows whether another session is welcome.
    """

    class BehindNginx(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Corked(transport, self.loop))

        def handle_websocket_upgrade(self) -> None:
            if gate.full:
                self.transport.close()
            else:
                super().handle_websocket_upgrade()

    return BehindNginx


async def render_page(app: Any, path: str) -> None:
    """Ask a Shiny app for its page once, before anybody else does.

    If its UI is a function, Shiny knows a page's files (``lib/…``) only in processes that have rendered one. A page
    from one process may ask another for them: without a cookie, or because of a deploy in between.

    Args:
        app: the ASGI app.
        path: where it is mounted.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": None,
        "server": None,
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        pass

    # A page that needs a real visitor fails here, and is none the worse for it.
    with contextlib.suppress(Exception):
        await app(scope, receive, send)


class Gate:
    """Counts what an app is serving, and knows when it may end.

    Args:
        app: the ASGI app.
        max_sessions: websockets that may be open at a time; 0 is no limit.
        page: the path of a page to render before anything else; empty for none.

    Attributes:
        sessions: websockets that are open now.
        served: websockets accepted in all.
        requests: HTTP requests in progress.
        draining: no new connection is kept; once nothing is open any more, `on_idle` is called.
        on_drain: called when that begins.
    """

    def __init__(self, app: Any, max_sessions: int = 0, page: str = "") -> None:
        self.app = app
        self.page = page
        self.max_sessions = max_sessions
        self.sessions = 0
        self.served = 0
        self.requests = 0
        self.draining = False
        self.on_drain: Callable[[], None] = lambda: None
        self.on_idle: Callable[[], None] = lambda: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, and count it."""
        if scope["type"] == "http":
            self.requests += 1
            try:
                await self.app(scope, receive, self._closing(send) if self.draining else send)
            finally:
                self.requests -= 1
                self._check()
        elif scope["type"] == "websocket":
            self.sessions += 1
            self.served += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.sessions -= 1
                self._check()
        else:
            await self.app(scope, receive, send)

    @property
    def full(self) -> bool:
        """Whether no other session is welcome."""
        return self.draining or 0 < self.max_sessions <= self.sessions

    def drain(self) -> None:
        """Wait for the end of what is open, and begin nothing that lasts."""
        self.draining = True
        self.on_drain()
        self._check()

    def _check(self) -> None:
        if self.draining and not self.sessions and not self.requests:
            self.on_idle()

    @staticmethod
    def _closing(send: Any) -> Any:
        """Let the response end its connection, so that nginx sends nothing more on it."""

        async def send_closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        return send_closing


class Server(uvicorn.Server):
    """A uvicorn server that tells the launcher how it is, and drains at SIGUSR2.

    Args:
        config: loaded; its app is a gate.
        gate: counts what is open.
        launcher: is told.
        drain_timeout: seconds that sessions get from then on, before they are closed (1012, service restart).
    """

    def __init__(self, config: uvicorn.Config, gate: Gate, launcher: Launcher, drain_timeout: float) -> None:
        super().__init__(config)
        self._gate = gate
        self._launcher = launcher
        self._drain_timeout = drain_timeout
        self._beats: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._drain)
            if self._gate.page:
                await render_page(self._gate.app, self._gate.page)
            self._launcher.tell("ready")
            self._beats = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Give the launcher a sign of life from the event loop, every second."""
        while True:
            gate = self._gate
            self._launcher.beat(sessions=gate.sessions, served=gate.served, requests=gate.requests)
            await asyncio.sleep(BEAT_SECONDS)

    def _drain(self) -> None:
        """Keep the open sessions and their requests, but let nginx bring nobody new over an old connection."""
        self._gate.on_idle = self._end
        self._gate.drain()
        for connection in list(self.server_state.connections):
            if isinstance(connection, self.config.http_protocol_class):
                connection.shutdown()  # now if it is idle, else with the response
        asyncio.get_running_loop().call_later(self._drain_timeout, self._end)

    def _end(self) -> None:
        self.should_exit = True


def load_server() -> None:
    """Import all that uvicorn serves with, as it would itself; no event loop is made."""
    config = uvicorn.Config(render_page, log_config=None)
    config.load()
    if hasattr(config, "get_loop_factory"):  # an older uvicorn does without this saving
        config.get_loop_factory()


def serve(
    gate: Gate, listener: socket.socket, launcher: Launcher, stop_timeout: float, drain_timeout: float
) -> None:
    """Serve an app until SIGTERM, or until it is drained.

    Args:
        gate: the ASGI app, counted.
        listener: a bound unix socket.
        launcher: is told when the app answers, and how it is.
        stop_timeout: seconds that open requests get at the end.
        drain_timeout: seconds that open sessions get from SIGUSR2 on.
    """
    config = uvicorn.Config(
        gate,
        log_level="warning",
        access_log=False,  # nginx writes one
        server_header=False,
        forwarded_allow_ips="*",  # nobody but nginx can reach the socket
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(stop_timeout),
    )
    config.load()
    config.http_protocol_class = behind_nginx(config.http_protocol_class, gate)
    Server(config, gate, launcher, drain_timeout).run(sockets=[listener])
