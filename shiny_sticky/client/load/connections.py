"""A visitor's connections, HTTP by h11 and websockets by `websockets`, with the times at which things came."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import SplitResult

import h11
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from shiny_sticky.client.load.clock import ArrivalClock

Headers = list[tuple[str, str]]

GOING_AWAY = 1001


class ConnectionFailed(Exception):
    """A connection could not be made, or broke; its text says how."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: of the response.
        headers: with their names in small letters.
        body: nothing unless it was asked for.
        came: when its end came; see :class:`ArrivalClock`.
    """

    status: int
    headers: Headers
    body: bytes
    came: float

    @property
    def cookies(self) -> dict[str, str]:
        """Those that it sets, by their names."""
        pairs = (value.partition(";")[0].partition("=") for name, value in self.headers if name == "set-cookie")
        return {name.strip(): value.strip() for name, _, value in pairs}


@dataclass
class _Awaited:
    """A request that waits for its answer."""

    done: asyncio.Future[Answer]
    keeps_body: bool
    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)


Protocol = TypeVar("Protocol", bound=asyncio.Protocol)


async def connected(place: SplitResult, make: Callable[[], Protocol]) -> Protocol:
    """Connect to a site.

    Args:
        place: its address.
        make: makes what speaks over the connection.

    Raises:
        ConnectionFailed: nobody answers there.
    """
    secure = place.scheme in ("https", "wss")
    port = place.port or (443 if secure else 80)
    loop = asyncio.get_running_loop()
    try:
        _, protocol = await loop.create_connection(make, place.hostname or "", port, ssl=_tls() if secure else None)
    except OSError as error:
        raise ConnectionFailed(f"no connection ({error.strerror or error})") from None
    return protocol


@functools.cache
def _tls() -> ssl.SSLContext:
    """How certificates are checked; it takes a while to read the authorities', so once is enough."""
    return ssl.create_default_context()


class HttpConnection(asyncio.Protocol):
    """A connection for one request after another.

    Args:
        clock: of the loop.
    """

    def __init__(self, clock: ArrivalClock) -> None:
        self._clock = clock
        self._http = h11.Connection(h11.CLIENT)
        self._awaited: _Awaited | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        idle = self._http.our_state is h11.IDLE and self._awaited is None
        return idle and self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There it is."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, method: str, target: str, headers: Headers, body: bytes, keeps_body: bool) -> Answer:
        """Send a request, and wait for all of its answer.

        Args:
            method: GET or POST.
            target: path and query.
            headers: all but the body's length.
            body: what is sent.
            keeps_body: whether the answer's is wanted.

        Raises:
            ConnectionFailed: the connection was closed before, or what came is not HTTP.
        """
        assert self._transport is not None
        if body or method == "POST":
            headers = [*headers, ("Content-Length", str(len(body)))]
        data = self._http.send(h11.Request(method=method, target=target, headers=headers))
        data = (data or b"") + (self._http.send(h11.Data(data=body)) or b"")
        data += self._http.send(h11.EndOfMessage()) or b""
        self._awaited = _Awaited(asyncio.get_running_loop().create_future(), keeps_body)
        self._transport.write(data)
        try:
            return await self._awaited.done
        finally:
            self._awaited = None

    def data_received(self, data: bytes) -> None:
        """A part of an answer has come."""
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._fail(f"no HTTP: {error}")

    def eof_received(self) -> None:
        """The server says no more; an answer without a length ends so."""
        try:
            self._http.receive_data(b"")
            self._read()
        except h11.RemoteProtocolError:
            pass

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        self._fail("connection closed before the answer")

    def close(self) -> None:
        """No more is asked."""
        if self._transport is not None:
            self._transport.close()

    def _read(self) -> None:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if self._awaited is not None:
                self._take(event, self._awaited)

    def _take(self, event: object, awaited: _Awaited) -> None:
        if isinstance(event, h11.Response):
            awaited.status = event.status_code
            awaited.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
        elif isinstance(event, h11.Data) and awaited.keeps_body:
            awaited.body += event.data
        elif isinstance(event, h11.EndOfMessage) and not awaited.done.done():
            answer = Answer(awaited.status, awaited.headers, bytes(awaited.body), self._clock.came)
            if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                self._http.start_next_cycle()
            awaited.done.set_result(answer)

    def _fail(self, why: str) -> None:
        if self._awaited is not None and not self._awaited.done.done():
            self._awaited.done.set_exception(ConnectionFailed(why))
        self.close()


class WebSocket(asyncio.Protocol):
    """A websocket, with compression as browsers have it.

    Args:
        clock: of the loop.
        url: beginning with ws: or wss:.
        headers: of the handshake, as a request has them, beside a websocket's own.
        on_text: takes each message, and when it came.
        on_close: is told why, when the server or the network has closed it.
    """

    def __init__(
        self,
        clock: ArrivalClock,
        url: str,
        headers: Headers,
        on_text: Callable[[str, float], None],
        on_close: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._headers = headers
        self._on_text = on_text
        self._on_close = on_close
        self._begun: list[bytes] = []  # a message of several frames
        deflate = ClientPerMessageDeflateFactory(client_max_window_bits=True)
        self._websocket = ClientProtocol(parse_uri(url), extensions=[deflate], max_size=None)
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a websocket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        request = self._websocket.connect()
        for name, value in self._headers:
            if name != "Host":  # it is there already
                request.headers[name] = value
        self._websocket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                self._shake_hands(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def eof_received(self) -> None:
        """The server says no more."""
        self._websocket.receive_eof()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        code = self._websocket.close_code
        self._lost(f"websocket closed by the server ({code})" if code else "websocket cut")

    def send(self, text: str) -> None:
        """Send a message.

        Raises:
            ConnectionFailed: it is closed.
        """
        if self._websocket.state is not State.OPEN:
            raise ConnectionFailed("websocket closed")
        self._websocket.send_text(text.encode())
        self._flush()

    def close(self) -> None:
        """Say that the page is closed, and close it."""
        self._on_close = lambda why: None
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(GOING_AWAY)
            self._flush()
        if self._transport is not None:
            self._transport.close()

    def _shake_hands(self, response: Response) -> None:
        if self.opened.done():
            return
        if self._websocket.state is State.OPEN:
            self.opened.set_result(None)
        else:
            self._lost(f"no websocket: status {response.status_code}")

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._begun.append(bytes(frame.data))
        if frame.fin:
            text = b"".join(self._begun).decode(errors="replace")
            self._begun = []
            self._on_text(text, self._clock.came)

    def _lost(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionFailed(why))
            self.opened.exception()  # seen, should nobody wait for it any more
        self._on_close(why)

    def _flush(self) -> None:
        assert self._transport is not None
        try:
            for data in self._websocket.data_to_send():
                if data:
                    self._transport.write(data)
                elif self._transport.can_write_eof():
                    self._transport.write_eof()
        except WebSocketException as error:
            self._lost(str(error))
