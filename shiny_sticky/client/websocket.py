"""A websocket as a browser has it: it answers pings, and says where its page is from.

The handshake is done here, because a refusal is something to report: what answers, with which status and headers.
Frames are those of `websockets`, which does no input or output of its own here.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import os
import select
import socket
import ssl
import struct
import threading
import time
from email.message import Message

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from shiny_sticky.client.address import Address
from shiny_sticky.client.traffic import ANSWER_SECONDS, Traffic

LONGEST_HEAD = 64 << 10

LARGEST_MESSAGE = 64 << 20

# What is read of the page that comes with a refusal.
LONGEST_REFUSAL = 4 << 10

# A websocket that broke without a word: RFC 6455, section 7.1.5.
BROKEN = 1006

# What a browser says when a tab is closed.
GOING_AWAY = 1001


class Refused(Exception):
    """A handshake was answered otherwise than with 101.

    Attributes:
        status: of the answer.
        headers: its headers.
    """

    def __init__(self, status: int, headers: Message) -> None:
        super().__init__(f"answered with {status}")
        self.status = status
        self.headers = headers


class Closed(Exception):
    """The websocket is closed; has its code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket:
    """An open websocket. One thread receives, any may send.

    Args:
        traffic: knows the connection.
        connection: that has been asked for a websocket.
        headers: of the answer to the handshake.
        data: what has come behind these.

    Attributes:
        headers: as above.
        pings: how many have come, each of which was answered.
    """

    def __init__(self, traffic: Traffic, connection: socket.socket, headers: Message, data: bytes) -> None:
        self.headers = headers
        self.pings = 0
        self._traffic = traffic
        self._connection = connection
        self._protocol = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=LARGEST_MESSAGE)
        self._lock = threading.Lock()  # of the connection and the protocol
        self._waiting: list[Frame] = []
        self._parts: list[bytes] = []
        self._is_text = True
        with self._lock:
            self._take(data)

    @classmethod
    def open(cls, traffic: Traffic, address: Address, headers: dict[str, str]) -> WebSocket:
        """Do the handshake.

        Args:
            traffic: counts it, and knows the connection.
            address: where; http or https.
            headers: such as ``Origin`` and ``Cookie``.

        Raises:
            Refused: the answer is no 101.
            OSError: nobody answers, or something that is no HTTP.
            Stopped: nothing more is sent.
        """
        traffic.count_websocket()
        connection = traffic.connect(address)
        try:
            connection.sendall(_handshake(address, headers))
            status, answered, rest = _answer(connection)
            if status != http.client.SWITCHING_PROTOCOLS:
                raise Refused(status, answered)
        except BaseException:
            traffic.close(connection)
            raise
        return cls(traffic, connection, answered, rest)

    @property
    def subprotocol(self) -> str:
        """The subprotocol that was agreed on; empty if none was."""
        return str(self.headers.get("Sec-WebSocket-Protocol", ""))

    def send(self, message: str | bytes) -> None:
        """Send a message.

        Raises:
            Closed: there is no connection any more.
        """
        put = self._protocol.send_text if isinstance(message, str) else self._protocol.send_binary
        with self._lock:
            try:
                put(message.encode() if isinstance(message, str) else message)
                self._flush()
            except (OSError, WebSocketException):
                raise Closed(BROKEN) from None

    def receive(self, seconds: float | None = None) -> str | bytes:
        """Wait for a message.

        Args:
            seconds: None is without end.

        Raises:
            Closed: there will be none.
            TimeoutError: none has come.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            while self._waiting:
                message = self._whole(self._waiting.pop(0))
                if message is not None:
                    return message
            self._read(deadline)

    def cut(self) -> None:
        """Break the connection without a word, as a network does that goes away."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._traffic.close(self._connection)

    def close(self) -> None:
        """Say that the page is closed, and close the connection."""
        with self._lock, contextlib.suppress(OSError, WebSocketException):
            self._protocol.send_close(GOING_AWAY)
            self._flush()
        self._traffic.close(self._connection)

    def _read(self, deadline: float | None) -> None:
        """Wait for data, and take it. The connection is free for others meanwhile: TLS has one user at a time."""
        try:
            if not self._has_data(deadline):
                raise TimeoutError
            with self._lock:
                data = self._received()
                if data == b"":
                    raise Closed(BROKEN)
                self._take(data or b"")
        except TimeoutError:
            raise
        except (OSError, ValueError):  # also when another thread has closed it
            raise Closed(BROKEN) from None

    def _has_data(self, deadline: float | None) -> bool:
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(None if deadline is None else max(1, 1000 * (deadline - time.monotonic()))))

    def _received(self) -> bytes | None:
        """What has come; None if that was TLS's own, empty at the end of the connection."""
        self._connection.settimeout(0)
        try:
            return self._connection.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        finally:
            self._connection.settimeout(ANSWER_SECONDS)

    def _take(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._waiting += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        self._flush()

    def _whole(self, frame: Frame) -> str | bytes | None:
        """The message that a frame completes, if it does."""
        if frame.opcode is Opcode.CLOSE:
            raise Closed(int.from_bytes(frame.data[:2], "big") if len(frame.data) > 1 else 1005)
        if frame.opcode is Opcode.PING:
            self.pings += 1
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return None
        data, self._parts = b"".join(self._parts), []
        return data.decode() if self._is_text else data

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.sendall(data)


def _handshake(address: Address, headers: dict[str, str]) -> bytes:
    lines = [
        f"GET {address.path} HTTP/1.1",
        f"Host: {address.authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _answer(connection: socket.socket) -> tuple[int, Message, bytes]:
    """Read the answer to a handshake: its status, its headers, and what has come behind them."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(LONGEST_REFUSAL)
        if not more:
            raise ConnectionResetError("the connection was closed without an answer")
        data += more
        if len(data) > LONGEST_HEAD:
            raise OSError("the answer is no HTTP")
    head, _, rest = data.partition(b"\r\n\r\n")
    first, _, lines = head.partition(b"\r\n")
    words = first.split(None, 2)
    if not first.startswith(b"HTTP/") or len(words) < 2 or not words[1].isdigit():
        raise OSError("the answer is no HTTP")
    return int(words[1]), http.client.parse_headers(io.BytesIO(lines + b"\r\n\r\n")), rest
