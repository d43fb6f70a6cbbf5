"""A connection that carries a session for a while, and what is said of sessions in the log."""

from __future__ import annotations

import sys

from ..asgi import Message, Receive, Send


def say(text: str) -> None:
    """Tell whoever reads the worker's log."""
    print(text, file=sys.stderr)


class Connection:
    """One of the connections that carry a session, one after another.

    Args:
        receive: the server's, of this connection.
        send: likewise.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive = receive
        self._send = send
        self.caught_up = False
        """Whether what was sent before has been sent on it, so that new messages follow."""

    async def send(self, message: Message) -> bool:
        """Send a message, or find that the connection is lost."""
        try:
            await self._send(message)
        except Exception:  # each server has its own for it
            return False
        return True

    async def tell(self, content: bytes) -> bool:
        """Send a control message; see :meth:`send`."""
        return await self.send({"type": "websocket.send", "bytes": content})

    async def close(self, code: int, reason: str = "") -> None:
        """Close it; it may be lost already."""
        await self.send({"type": "websocket.close", "code": code, "reason": reason})
