"""How a worker's answers are written to nginx."""

from __future__ import annotations

from typing import Any

from .draining import ConnectionTracker


class CorkedTransport:
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


def behind_nginx(protocol: Any, tracker: ConnectionTracker) -> Any:
    """A uvicorn HTTP protocol class that writes through :class:`CorkedTransport`, and refuses surplus sessions.

    nginx hands a websocket's handshake to the next worker when this one closes the connection without an answer. No
    status could say the same: the app may use any of them itself.

    Args:
        protocol: uvicorn's own class.
        tracker: knows whether another session is welcome.
    """

    class BehindNginx(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(CorkedTransport(transport, self.loop))

        def handle_websocket_upgrade(self) -> None:
            if tracker.full:
                self.transport.close()
            else:
                super().handle_websocket_upgrade()

    return BehindNginx
