"""How a worker writes to nginx, and how it closes connections."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from .asgi import ASGIApp, Headers, Message, Receive, Scope, Send
from .draining import WorkerState
from .resume.wire import RESUMED_AT

# Seconds that nginx gets to close a websocket's connection, after the worker has.
LINGER_SECONDS = 2

# Seconds that a handshake waits at a worker that has the only session it may have, before nginx asks the next one.
# Meanwhile the launcher forks more, which takes a tenth of a second. nginx asks each worker once.
FULL_SECONDS = 0.2


class CorkedTransport:
    """A transport that gathers what is written, until it is told to send it or the event loop's next step.

    Uvicorn writes a response's head and body one after the other. A worker killed in between would leave nginx
    with a head and no body: too late to ask another worker for the page. It also saves a system call.

    Args:
        transport: the real one; all but writing goes straight to it.
        loop: the event loop.
    """

    # More than this is sent at once, so that streams are not copied together.
    LARGEST = 64 * 1024

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, together with what else is written before :meth:`flush`."""
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(data)
        self._size += len(data)
        if self._size > self.LARGEST:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered, unless the connection was closed or reset meanwhile."""
        if self._pending:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending, self._size = [], 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self.flush()
        self._transport.close()

    def uncork(self) -> asyncio.Transport:
        """The real transport, for all that is written from here on."""
        self.flush()
        return self._transport

    def flushing(self, app: ASGIApp) -> ASGIApp:
        """An ASGI app that sends a body piece by piece: each has left when `send` returns, the first with the head.

        Args:
            app: the ASGI app.
        """

        async def flushing_app(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_flushing(message: Message) -> None:
                await send(message)
                if message["type"] != "http.response.start":
                    self.flush()

            await app(scope, receive, send_flushing)

        return flushing_app


class LingeringTransport:
    """A transport that closes as nginx does: it says that nothing more comes, and reads on until the peer closes.

    Closing at once would leave unread what the browser sends in that moment, such as its answer to a close frame.
    The system resets a connection for that, and nginx logs an error, or loses the close frame.

    Args:
        transport: the real one; all but closing goes straight to it.
        loop: the event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._rest: _Rest | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, at once as far as the system takes them; none after the end."""
        if not self.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._rest is not None or self._transport.is_closing()

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Let a protocol have what is read; once this is closing, nothing but its end."""
        if self._rest is None:
            self._transport.set_protocol(protocol)
        else:
            self._rest.protocol = protocol

    def close(self) -> None:
        """Say that nothing more comes, and close when the peer has, or after a while."""
        if self.is_closing():
            return
        self._rest = _Rest(cast("asyncio.Protocol", self._transport.get_protocol()))
        self._transport.set_protocol(self._rest)
        self._transport.resume_reading()
        self._rest.timer = self._loop.call_later(LINGER_SECONDS, self._transport.close)
        try:
            self._transport.write_eof()
        except OSError:  # the peer has gone already
            self._transport.close()


class _Rest(asyncio.Protocol):
    """The protocol of what still comes on a connection that was closed here: it is read, and ignored.

    Attributes:
        protocol: the one before, which is told of the end.
        timer: what ends the wait for it.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Ignore it."""

    def eof_received(self) -> None:
        """Let the connection be closed."""

    def pause_writing(self) -> None:
        """Pass it on: a close frame may still wait for its turn."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass it on; the wait is over."""
        if self.timer is not None:
            self.timer.cancel()
        self.protocol.connection_lost(error)


def behind_nginx(protocol: Any, state: WorkerState) -> Any:
    """A uvicorn HTTP protocol class with the transports above, which refuses surplus sessions.

    Responses are corked. Websockets are not, so a computation's messages leave while it goes on.

    nginx hands a websocket's handshake to the next worker when this one closes the connection without an answer. No
    status could say the same: the app may use any of them itself.

    Args:
        protocol: uvicorn's own class.
        state: tells whether another session is welcome.
    """

    class BehindNginx(protocol):  # type: ignore[misc]
        app: ASGIApp
        transport: Any
        headers: Headers

        def connection_made(self, transport: asyncio.Transport) -> None:
            corked = CorkedTransport(transport, self.loop)
            self.app = corked.flushing(self.app)
            super().connection_made(corked)

        def handle_websocket_upgrade(self, *event: Any) -> None:  # h11's comes with the request
            if state.full and not RESUMED_AT.search(_asked_path(self)):
                self._turn_away()
            else:
                self.transport = LingeringTransport(self.transport.uncork(), self.loop)
                super().handle_websocket_upgrade(*event)

        def _turn_away(self) -> None:
            """Hang up: at once on who has come by name, for others are free; on who was sent here, in a moment."""
            named = state.visitors.turn_away({**self.scope, "path": _asked_path(self)})
            state.on_change()
            if state.isolated and not named:
                self.loop.call_later(FULL_SECONDS, self.transport.close)
            else:
                self.transport.close()

    return BehindNginx


def _asked_path(protocol: Any) -> str:
    """The path of the websocket that is asked for; uvicorn's protocol for httptools has not taken it apart yet."""
    url: bytes | None = getattr(protocol, "url", None)
    return protocol.scope["path"] if url is None else url.partition(b"?")[0].decode("latin-1")
