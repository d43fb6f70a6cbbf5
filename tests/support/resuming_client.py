"""A page in Python: the browser's side of a resumable session, as far as tests need it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from shiny_sticky.worker.resume import wire
from shiny_sticky.worker.resume.numbering import Incoming, Outgoing
from support.waiting import PATIENCE


class Ended(Exception):
    """The session is over; with the code of the websocket."""

    @property
    def code(self) -> int:
        return self.args[0]


# Seconds without a word after which a page takes its connection for lost, and that it gives to another one.
SILENT = 14
ATTEMPT = 10

# After these a page does not try again.
FINAL = {1000, 1001, 1012, 4001, wire.REFUSED, wire.GONE}


class ResumingClient:
    """One session. Use as an asynchronous context manager.

    Args:
        port: of the front, or of a proxy before it.
        path: of the page.
        headers: of each handshake.
        acknowledges: whether it tells what it has received, as it ought to.

    Attributes:
        session: its name in the URL that it is resumed by.
        secret: to resume it with.
        received: the app's messages, in the order of their coming.
        notices: what the worker has told beside these, for the visitor.
        resumed: seconds that each cut lasted, from its discovery on.
        together: messages that are acknowledged together.
    """

    together = 16

    def __init__(
        self, port: int, path: str = "/", headers: dict[str, str] | None = None, acknowledges: bool = True
    ) -> None:
        path, _, self.query = path.partition("?")
        self.url = f"ws://127.0.0.1:{port}{path}"
        self.headers = headers or {}
        self.acknowledges = acknowledges
        self.session = self.secret = ""
        self.received: list[str | bytes] = []
        self.notices: list[dict] = []
        self.resumed: list[float] = []
        self.ended: Ended | None = None
        self.outgoing = Outgoing()
        self.incoming = Incoming()
        self.connection: ClientConnection | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> ResumingClient:
        self.connection = await self._connect(f"{self.url}websocket/?{self.query}")
        hello = await self.connection.recv()
        assert hello[:1] == wire.HELLO, hello
        told = json.loads(hello[1:])
        self.session, self.secret = told["session"], told["secret"]
        if self.acknowledges:
            await self.connection.send(wire.ack(0))
        self._living = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._living.cancel()
        if self.connection is not None and self.ended is None:
            with contextlib.suppress(ConnectionClosed):
                await self.connection.send(wire.BYE)
            await self.connection.close()

    @property
    def resume_url(self) -> str:
        return f"{self.url}session/{self.session}/resume"

    async def send(self, payload: str | bytes) -> None:
        """Send a message, now or when there is a connection again."""
        self.outgoing.add(payload)
        if self.connection is not None:
            await self._put(self.connection, payload)

    async def until(self, condition, what: str, timeout: float = PATIENCE) -> None:
        """Wait until something that comes makes a condition true."""
        async with asyncio.timeout(timeout):
            while not condition():
                if self.ended is not None:
                    raise AssertionError(f"ended ({self.ended.code}) before {what}")
                self._came.clear()
                await self._came.wait()

    async def end(self) -> int:
        """Wait for the session's end; gives its code."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({self._living})
        assert self.ended is not None
        return self.ended.code

    @contextlib.asynccontextmanager
    async def admission(self, **told: object) -> AsyncIterator[ClientConnection]:
        """A further connection, of this page or somebody else's, that has said what it is told to."""
        connection = await self._connect(self.resume_url)
        try:
            with contextlib.suppress(ConnectionClosed):
                await connection.send(wire.encode(wire.RESUME, **told))
            yield connection
        finally:
            await connection.close()

    async def _live(self) -> None:
        """Take what comes, and connect anew whenever the connection is lost."""
        try:
            while True:
                try:
                    await self._take_all()
                except TimeoutError:
                    self.connection.transport.abort()
                except ConnectionClosed:
                    pass
                lost, code = time.monotonic(), self.connection.close_code
                self.connection = None
                if code in FINAL:
                    raise Ended(code)
                await self._resume()
                self.resumed.append(time.monotonic() - lost)
        except Ended as ended:
            self.ended = ended
            self._came.set()

    async def _take_all(self) -> None:
        while True:
            async with asyncio.timeout(SILENT):
                message = await self.connection.recv()
            await self._take(message)

    async def _resume(self) -> None:
        wait, connection = 0.05, None
        while connection is None:
            try:
                async with asyncio.timeout(ATTEMPT):
                    connection = await self._resume_once()
            except (OSError, ConnectionClosed, EOFError, InvalidHandshake) as lost:
                if isinstance(lost, ConnectionClosed) and lost.rcvd and lost.rcvd.code in FINAL:
                    raise Ended(lost.rcvd.code) from None
                await asyncio.sleep(wait)
                wait = min(2 * wait, 1)
        number = self.outgoing.first
        while number < self.outgoing.next:  # what is sent meanwhile follows
            await self._put(connection, self.outgoing[number])
            number += 1
        self.connection = connection

    async def _resume_once(self) -> ClientConnection:
        connection = await self._connect(self.resume_url)
        await connection.send(wire.encode(wire.RESUME, secret=self.secret, next=self.incoming.next))
        answer = await connection.recv()
        if answer == wire.BYE:  # by the app, and what follows is the end
            answer = await connection.recv()
        assert answer[:1] == wire.RESUMED, answer
        told = json.loads(answer[1:])
        self.secret = told["secret"]
        self.outgoing.acknowledge(told["next"])
        await connection.send(wire.ack(self.incoming.acknowledged()))
        return connection

    async def _connect(self, url: str) -> ClientConnection:
        return await connect(
            url,
            subprotocols=[wire.SUBPROTOCOL],
            additional_headers=self.headers,
            ping_interval=None,
            compression=None,
            open_timeout=PATIENCE,
            proxy=None,
        )

    async def _put(self, connection: ClientConnection, payload: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(payload if isinstance(payload, str) else wire.DATA + payload)

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            kind, content = message[:1], message[1:]
            if kind == wire.ACK:
                self.outgoing.acknowledge(wire.number(content))
            elif kind == wire.PING:
                await self.connection.send(wire.PONG)
            elif kind == wire.NOTICE:
                self.notices.append(json.loads(content))
            if kind != wire.DATA:
                self._came.set()
                return
            message = content
        self.incoming.count()
        self.received.append(message)
        self._came.set()
        if self.acknowledges and self.incoming.owed >= self.together:
            await self.connection.send(wire.ack(self.incoming.acknowledged()))
