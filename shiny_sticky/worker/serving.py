"""Serving an app with uvicorn on the socket that the launcher bound."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from .launcher import Launcher

# nginx closes idle connections to a worker after 60 s. The worker waits longer, so that it never closes one
# that nginx is just sending a request on: a POST could not be repeated.
KEEP_ALIVE_SECONDS = 75


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


def corked(protocol: Any) -> Any:
    """A uvicorn HTTP protocol class that writes through :class:`Corked`."""

    class CorkedProtocol(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Corked(transport, self.loop))

    return CorkedProtocol


def serve(app: Any, listener: socket.socket, launcher: Launcher, stop_timeout: int) -> None:
    """Serve an app until SIGTERM.

    Args:
        app: the ASGI app.
        listener: a bound unix socket.
        launcher: is told when the app answers.
        stop_timeout: seconds that open requests get at the end.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                launcher.tell("ready")

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # nginx writes one
        server_header=False,
        forwarded_allow_ips="*",  # nobody but nginx can reach the socket
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_timeout,
    )
    config.load()
    config.http_protocol_class = corked(config.http_protocol_class)
    Server(config).run(sockets=[listener])
