"""Takes a page's websocket, and those that carry its session later."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from contextlib import suppress

from ..asgi import ASGIApp, Message, Receive, Scope, Send
from . import wire
from .connection import Connection, say
from .session import Session
from .sessions import Sessions
from .wire import ProtocolViolation

# Seconds that a further connection gets to say whose it is.
ADMISSION_SECONDS = 10

# Where a websocket's scope has, as `session`, what carries it; None before the app has accepted it.
CARRIER = "shiny_sticky.carrier"

# By these Shiny learns who the user is, besides those that the settings let pass.
USER_HEADERS = frozenset((b"shiny-server-credentials", b"rstudio-connect-credentials"))


class ResumeMiddleware:
    """Lets sessions outlive their connections, where the page speaks the protocol; all else passes.

    Args:
        app: the ASGI app; it sees one websocket a session.
        incarnation: the process's name, such as ``app2.k3f9``, which is in the URL that a session is resumed by.
        sessions: of this worker.
        user_headers: names of request headers, in lower case, that say who asks.
    """

    def __init__(
        self, app: ASGIApp, incarnation: str, sessions: Sessions, user_headers: Collection[bytes] = ()
    ) -> None:
        self.app = app
        self._incarnation = incarnation
        self._sessions = sessions
        self._user_headers = USER_HEADERS.union(user_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        found = wire.RESUMED_AT.search(scope["path"]) if scope["type"] == "websocket" else None
        if found:
            await self._resume(found, scope, receive, send)
        elif scope["type"] == "websocket" and wire.SUBPROTOCOL in scope.get("subprotocols", ()):
            await self._begin(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _user(self, scope: Scope) -> list[bytes]:
        """What a request says of who asks."""
        return sorted(key + b": " + value for key, value in scope["headers"] if key.lower() in self._user_headers)

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a session, by its first connection and those that follow."""
        others = [name for name in scope["subprotocols"] if name != wire.SUBPROTOCOL]
        opening = _Opening(receive, send, self._incarnation, self._sessions, self._user(scope))
        try:
            await self.app({**scope, "subprotocols": others, CARRIER: opening}, opening.receive, opening.send)
        except BaseException:
            await opening.finish(1011)
            raise
        await opening.finish(1000)

    async def _resume(self, asked: re.Match[str], scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a session on by a further connection, or say that there is none: it may be a dead process's."""
        await receive()
        await send({"type": "websocket.accept", "subprotocol": wire.SUBPROTOCOL})
        connection = Connection(receive, send)
        told = await _first_words(receive)
        session = self._sessions.find(asked["id"]) if asked["process"] == self._incarnation else None
        if told is None:  # it was given up by the page
            return
        if session is None:
            if self._sessions.was_closed_by_app(asked["id"]):
                await connection.tell(wire.BYE)
            await connection.close(wire.GONE)
            return
        try:
            if session.user != tuple(self._user(scope)):
                raise ProtocolViolation("another user")
            number = session.admit(told)
        except ProtocolViolation as problem:
            if not session.warned:  # once: whoever guesses does not fill the log
                session.warned = True
                say(f"A session was not resumed: {problem}.")
            await connection.close(wire.REFUSED)
            return
        await session.resume(connection, number)
        if session.standing:
            await connection.tell(session.standing)
        await self._sessions.tell_notices(connection)
        await _carry(session, connection)


class _Opening:
    """An app's websocket from its handshake on; a session once the app has accepted it with no protocol of its own.

    Args:
        receive: of its first connection.
        send: likewise.
        incarnation: the process's name.
        sessions: take the session.
        user: what the request says of who asks.

    Attributes:
        session: None before the app has accepted the websocket.
    """

    def __init__(
        self, receive: Receive, send: Send, incarnation: str, sessions: Sessions, user: list[bytes]
    ) -> None:
        self._connection = Connection(receive, send)
        self._send = send
        self._incarnation = incarnation
        self._sessions = sessions
        self._user = user
        self.session: Session | None = None
        self._carrying: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The app's next message."""
        return await (self._connection if self.session is None else self.session).receive()

    async def send(self, message: Message) -> None:
        """Take a message of the app's."""
        if self.session is None:
            if message["type"] == "websocket.accept" and not message.get("subprotocol"):
                await self._accept(message)
            else:
                await self._send(message)
        elif message["type"] == "websocket.send":
            text = message.get("text")
            await self.session.send(text if text is not None else message["bytes"])
        elif message["type"] == "websocket.close":
            await self.session.close(message.get("code", 1000), message.get("reason") or "", by_app=True)

    async def finish(self, code: int) -> None:
        """The app has returned."""
        if self.session is not None and self._carrying is not None:
            await self.session.close(code, "", by_app=True)
            self._carrying.cancel()

    async def _accept(self, message: Message) -> None:
        await self._send({**message, "subprotocol": wire.SUBPROTOCOL})
        self.session = session = self._sessions.new(self._user)
        hello = session.begin(self._connection, f"{self._incarnation}-{session.id}")
        await self._connection.tell(hello)
        await self._sessions.tell_notices(self._connection)
        self._carrying = asyncio.create_task(_carry(session, self._connection))


async def _carry(session: Session, connection: Connection) -> None:
    """Take what comes on a connection; a page that says what cannot be has no session any more."""
    try:
        await session.carry(connection)
    except ProtocolViolation as violation:
        say(f"A session is over, for its page does not keep to the protocol: {violation}.")
        await session.close(wire.REFUSED, "")


async def _first_words(receive: Receive) -> dict[str, object] | None:
    """The fields of what a further connection says first.

    Returns:
        No field if it says something else than it must, or nothing in time; None if it is closed instead.
    """
    message: Message = {}
    with suppress(asyncio.TimeoutError):
        message = await asyncio.wait_for(receive(), ADMISSION_SECONDS)
    if message.get("type") == "websocket.disconnect":
        return None
    content = message.get("bytes") or b""
    with suppress(ProtocolViolation):
        return wire.fields(content[1:]) if content.startswith(wire.RESUME) else {}
    return {}
