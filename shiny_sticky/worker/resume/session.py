"""The websocket that an app sees, while the connections that carry it come and go."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..asgi import Message
from . import wire
from .connection import Connection, say
from .numbering import ACK_MESSAGES, Incoming, Outgoing
from .wire import Payload, ProtocolViolation

# Seconds that a page may take to acknowledge something while as much waits for it as is kept.
CATCH_UP_SECONDS = 15.0

# Seconds that a session waits whose page has never shown that it knows of it, and has likely begun another. A page
# that knows, and whose first word was lost, has noticed the loss by then (15 s), tried to come back (10 s), and
# waited to try again (5 s).
UNKNOWN_SECONDS = 30.0

# What an app is told when its page is closed: RFC 6455, section 7.4.1.
GOING_AWAY = 1001


@dataclass(frozen=True)
class Limits:
    """What a session may take.

    Attributes:
        timeout: seconds that it waits without a connection; 0: it ends with the first.
        buffer: bytes that are kept for its page, and as many of what its page has sent and the app not taken.
        unknown: seconds that it waits if its page has never shown that it knows of it.
    """

    timeout: float
    buffer: int
    unknown: float = UNKNOWN_SECONDS


class Session:
    """A logical websocket.

    Args:
        user: what its page's request said of who asks; a further connection must say the same.
        limits: of what it may take.
        watcher: is told when it is suspended, resumed or over.

    Attributes:
        id: by which further connections find it; no secret.
        page_secret: by which its page shows, when this process is gone, that the session was its own.
        connection: what carries it; None while it is suspended.
        suspended_at: when it lost its connection, by the event loop's clock; None while it has one.
        heard_at: when its page said something last.
        asked_at: when its page was asked last whether it is there.
        ended: the code that the app is told at the end; None before.
        closed_by_app: whether it was the app that has ended it.
        standing: what its page is told again on each further connection.
        warned: whether somebody who may not resume it was told of in the log.
    """

    def __init__(self, user: Iterable[bytes], limits: Limits, watcher: Callable[[Session], None]) -> None:
        self.id = secrets.token_hex(16)
        self.page_secret = secrets.token_hex(16)
        self.user = tuple(user)
        self.connection: Connection | None = None
        self.suspended_at: float | None = None
        self.heard_at = self._now()
        self.asked_at = 0.0
        self.ended: int | None = None
        self.closed_by_app = False
        self.standing = b""
        self.warned = False

        self._is_known = False  # to its page, by what that has said
        self._secret = secrets.token_hex(16)
        self._used_secret = ""  # good until the page has shown that it has the next one
        self._limits = limits
        self._watcher = watcher
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._inbox: deque[Message] = deque()
        self._inbox_size = 0
        self._retiring: asyncio.Task[None] | None = None
        self._wanted: asyncio.Future[None] | None = None  # what the app waits for its next message with
        self._changed = asyncio.Event()  # something was taken or acknowledged; or it is over

    @property
    def patience(self) -> float:
        """Seconds that it waits for its page while it has no connection."""
        return self._limits.timeout if self._is_known else min(self._limits.timeout, self._limits.unknown)

    # --- the app's side

    async def receive(self) -> Message:
        """The app's next message; waits for it."""
        while not self._inbox:
            if self.ended is not None:
                return {"type": "websocket.disconnect", "code": self.ended, "reason": ""}
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted
        message = self._inbox.popleft()
        self._inbox_size -= _size(message)
        self._changed.set()
        return message

    async def send(self, payload: Payload) -> None:
        """Send a message of the app's; it is kept until the page has acknowledged it."""
        if self.ended is not None:
            return
        self._outgoing.add(payload)
        connection = self.connection
        if connection is not None and connection.caught_up and not await connection.send(wire.framed(payload)):
            self.lose(connection)
        if self._outgoing.size > self._limits.buffer:
            await self._let_page_catch_up()

    async def close(self, code: int, reason: str, by_app: bool = False) -> None:
        """End it, and tell the page why, if that is there.

        Args:
            code: of the websocket.
            reason: likewise.
            by_app: whether the app wants it so; then its page begins no other session by itself.
        """
        connection, self.connection = self.connection, None
        self.closed_by_app = by_app
        self.end(code)
        if connection is not None:
            if by_app:
                await connection.tell(wire.BYE)
            await connection.close(code, reason)

    # --- the connections' side

    def begin(self, connection: Connection, name: str) -> bytes:
        """Be carried by a first connection.

        Args:
            connection: accepted.
            name: by which further connections find the session.

        Returns:
            What the page is told first.
        """
        self.connection = connection
        connection.caught_up = True
        told = {"session": name, "secret": self._secret, "timeout": self._limits.timeout, "page": self.page_secret}
        return wire.encode(wire.HELLO, **told)

    def admit(self, told: dict[str, Any]) -> int:
        """Check what a further connection says first. From then on it has to be resumed by it.

        Args:
            told: the fields of its first message.

        Returns:
            The number of the message that the page expects next.

        Raises:
            ProtocolViolation: it is not this session's page, or expects what is not there.
        """
        secret, number = told.get("secret"), told.get("next")
        if not isinstance(secret, str) or not self._knows(secret):
            raise ProtocolViolation("a wrong secret")
        if type(number) is not int or not self._outgoing.is_kept(number):
            raise ProtocolViolation(f"message {number!r} is expected, which is not there")
        self._is_known = True
        if secret != self._used_secret:  # else the next one is on its way already, and the page may have got it
            self._used_secret, self._secret = secret, secrets.token_hex(16)
        return number

    async def resume(self, connection: Connection, number: int) -> None:
        """Be carried by a further connection from now on, and send on it what its page lacks.

        Args:
            connection: admitted.
            number: of the message that its page expects next.
        """
        retired, self.connection = self.connection, connection
        self.suspended_at = None
        self.heard_at = self._now()
        self._watcher(self)
        self._outgoing.acknowledge(number)
        if retired is not None:  # which may be long in answering
            self._retiring = asyncio.create_task(retired.close(wire.RETIRED))
        await connection.tell(wire.encode(wire.RESUMED, secret=self._secret, next=self._incoming.acknowledged()))
        while self.connection is connection and number < self._outgoing.next:
            number = max(number, self._outgoing.first)
            if not await connection.send(wire.framed(self._outgoing[number])):
                self.lose(connection)
            number += 1
        connection.caught_up = True

    async def carry(self, connection: Connection) -> None:
        """Take what comes on a connection until it is lost, or another one carries the session.

        Raises:
            ProtocolViolation: the page says what cannot be.
        """
        while True:
            message = await connection.receive()
            if self.connection is not connection:
                return
            if message["type"] != "websocket.receive":
                self.lose(connection)
                return
            self.heard_at = self._now()
            self._used_secret = ""
            content = message.get("bytes")
            if content and content[:1] != wire.DATA:
                await self._obey(connection, content[:1], content[1:])
                continue
            self._keep_for_app({**message, "bytes": content[1:]} if content else message)
            if self._incoming.owed >= ACK_MESSAGES:
                await self.acknowledge()
            while self._inbox_size > self._limits.buffer and self.connection is connection:
                await self._change()

    def lose(self, connection: Connection) -> None:
        """A connection is gone. If it carried the session, that waits for another one."""
        if self.connection is connection:
            self.connection = None
            self.suspended_at = self._now()
            self._changed.set()
            self._watcher(self)

    def end(self, code: int) -> None:
        """It is over: the app is told, nothing is kept."""
        if self.ended is None:
            self.ended = code
            self.suspended_at = None
            self._outgoing = Outgoing()
            self._changed.set()
            self._wake_app()
            self._watcher(self)

    async def acknowledge(self) -> None:
        """Acknowledge what has come in, if that has not been done."""
        if self.connection is not None and self._incoming.owed:
            await self.connection.tell(wire.ack(self._incoming.acknowledged()))

    async def ask(self) -> None:
        """Ask the page whether it is there."""
        if self.connection is not None:
            self.asked_at = self._now()
            await self.connection.tell(wire.PING)

    async def cut(self) -> None:
        """Give up its connection, on which nothing is heard."""
        connection = self.connection
        if connection is not None:
            self.lose(connection)
            await connection.close(wire.SILENT)

    @property
    def owes(self) -> bool:
        """Whether it has something to acknowledge."""
        return self._incoming.owed > 0

    # ---

    async def _obey(self, connection: Connection, kind: bytes, content: bytes) -> None:
        """Do what a control message of the page's says."""
        if kind == wire.ACK:  # a page that has heard how it is resumed begins with one
            self._is_known = True
            self._outgoing.acknowledge(wire.number(content))
            self._changed.set()
        elif kind == wire.PING:
            await connection.tell(wire.PONG)
        elif kind == wire.BYE:
            self.connection = None
            self.end(GOING_AWAY)
        elif kind != wire.PONG:
            raise ProtocolViolation(f"a control message of no known kind: {kind!r}")

    def _keep_for_app(self, message: Message) -> None:
        """Count a message of the page's, and keep it until the app takes it."""
        self._incoming.count()
        self._inbox.append(message)
        self._inbox_size += _size(message)
        self._wake_app()

    async def _let_page_catch_up(self) -> None:
        """Wait until the page has acknowledged enough; end the session if it does not, or is not there."""
        deadline = self._now() + CATCH_UP_SECONDS
        while self._outgoing.size > self._limits.buffer and self.ended is None:
            left = deadline - self._now()
            if self.connection is None or left <= 0:
                say(f"A session is over: more than {self._limits.buffer} bytes wait for its page.")
                await self.close(wire.REFUSED, "more waits for the page than is kept")
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._change(), left)

    def _wake_app(self) -> None:
        """There is something for the app, if it waits."""
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    async def _change(self) -> None:
        """Wait until something has changed."""
        self._changed.clear()
        await self._changed.wait()

    def _knows(self, secret: str) -> bool:
        """Whether a secret is the session's; takes the same time for each of one length."""
        given = secret.encode()
        known = [good.encode() for good in (self._secret, self._used_secret) if good]
        return any(hmac.compare_digest(given, good) for good in known)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _size(message: Message) -> int:
    """Bytes that a message's content takes, about."""
    return len(message.get("text") or message.get("bytes") or "")
