"""A user's tab: the page by HTTP, and the session over a websocket that costs its client next to nothing.

Frames are taken apart by hand, as a library would take as long for a message as the server does. Messages are
compressed where the server agrees to it, as browsers do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import zlib
from typing import Any

from load import BROWSER_LINES

OFFER = "permessage-deflate; client_max_window_bits"

# What ends a message that is compressed (RFC 7692), and is not sent.
TAIL = b"\x00\x00\xff\xff"

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Refused(Exception):
    """The server has answered otherwise than a user hopes for; the text says what."""


class Deflate:
    """permessage-deflate as both sides have agreed on it.

    Args:
        agreed: the response's header, such as ``permessage-deflate; server_no_context_takeover``.
    """

    def __init__(self, agreed: str) -> None:
        bits = re.search(r"client_max_window_bits=(\d+)", agreed)
        self._bits = -int(bits[1]) if bits else -15
        self._packs_anew = "client_no_context_takeover" in agreed
        self._unpacks_anew = "server_no_context_takeover" in agreed
        self._packer = self._new_packer()
        self._unpacker = zlib.decompressobj(-15)

    def pack(self, data: bytes) -> bytes:
        """Compress a message."""
        if self._packs_anew:
            self._packer = self._new_packer()
        packed = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(TAIL)

    def unpack(self, data: bytes) -> bytes:
        """The message that was compressed."""
        if self._unpacks_anew:
            self._unpacker = zlib.decompressobj(-15)
        return self._unpacker.decompress(data + TAIL)

    def _new_packer(self) -> Any:
        return zlib.compressobj(wbits=self._bits, memLevel=1)


class Tab(asyncio.Protocol):
    """One tab with a Shiny session.

    Attributes:
        messages: that have come.
        bytes: that have come, as they were on the wire.
        ended: why it is over; empty while it is not.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.ended = ""
        self._head = b""
        self._upgraded = False
        self._deflate: Deflate | None = None
        self._buffer = bytearray()
        self._wanted = ""
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        inputs: dict[str, Any],
        outputs: tuple[str, ...],
        wanted: str,
        cookies: str | None = None,
    ) -> Tab:
        """Load the page, begin a session, and wait for a text in what it sends.

        Args:
            port: of 127.0.0.1.
            path: of the page.
            inputs: at the start.
            outputs: that the page shows.
            wanted: the text.
            cookies: in place of those that come with the page; None for these.

        Raises:
            Refused: by a status, or a close.
            OSError: a connection broke.
        """
        given = await _load_page(port, path)
        cookies = given if cookies is None else cookies
        loop = asyncio.get_running_loop()
        _, tab = await loop.create_connection(cls, "127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        cookie = f"Cookie: {cookies}\r\n" if cookies else ""
        await tab._send_and_wait(
            f"GET {path}websocket/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Extensions: {OFFER}\r\n"
            f"{BROWSER_LINES}{cookie}\r\n".encode(),
            '"sessionId"',
        )
        shown = {f".clientdata_output_{name}_hidden": False for name in outputs}
        await tab.say({"method": "init", "data": {".clientdata_pixelratio": 1, **shown, **inputs}}, wanted)
        return tab

    async def say(self, message: dict[str, Any], wanted: str) -> None:
        """Send a message, and wait for a text in what comes.

        Raises:
            Refused: the session is over.
        """
        await self._send_and_wait(self._frame(TEXT, json.dumps(message).encode()), wanted)

    def close(self) -> None:
        """Hang up."""
        self.ended = self.ended or "closed by the user"
        self._transport.abort()

    async def _send_and_wait(self, data: bytes, wanted: str) -> None:
        if self.ended:
            raise Refused(self.ended)
        self._wanted = wanted
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        await self._waiting

    def _frame(self, opcode: int, data: bytes) -> bytes:
        """A client's frame; the mask is of zeros."""
        first = 0x80 | opcode
        if self._deflate is not None and opcode == TEXT:
            first, data = first | 0x40, self._deflate.pack(data)
        size = len(data)
        head = struct.pack("!BB", first, 0x80 | size) if size < 126 else struct.pack("!BBH", first, 0xFE, size)
        return head + bytes(4) + data

    # --- what comes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to send by."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take the response's head first, and frames from then on."""
        self._buffer += data
        if not self._upgraded:
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._end(f"websocket: {head[9:40].splitlines()[0].decode()}")
                return
            self._upgraded, self._buffer = True, bytearray(rest)
            agreed = re.search(rb"(?i)\r\nsec-websocket-extensions: ([^\r]*)", head + b"\r\n")
            self._deflate = Deflate(agreed[1].decode()) if agreed else None
        else:
            self.bytes += len(data)
        while self._take_frame():
            pass

    def connection_lost(self, error: Exception | None) -> None:
        """Wake who waits in vain."""
        self._end("the connection broke")

    def _take_frame(self) -> bool:
        """Take one frame off what has come; none if it is not complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, start = buffer[1], 2
        if size >= 126:
            kind, start = ("!H", 4) if size == 126 else ("!Q", 10)
            if len(buffer) < start:
                return False
            (size,) = struct.unpack_from(kind, buffer, 2)
        if len(buffer) < start + size:
            return False
        data = bytes(buffer[start : start + size])
        first = buffer[0]
        del buffer[: start + size]
        self._take(first & 0x0F, data, packed=bool(first & 0x40))
        return True

    def _take(self, opcode: int, data: bytes, *, packed: bool) -> None:
        if opcode == PING:
            self._transport.write(self._frame(PONG, data))
        elif opcode == CLOSE:
            self._end(f"closed with {int.from_bytes(data[:2], 'big')}")
        elif opcode == TEXT:  # servers send no message in pieces
            self.messages += 1
            text = (self._deflate.unpack(data) if packed and self._deflate else data).decode()
            if self._wanted and self._wanted in text and self._waiting and not self._waiting.done():
                self._wanted = ""
                self._waiting.set_result(None)

    def _end(self, why: str) -> None:
        self.ended = self.ended or why
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(Refused(self.ended))
        self._transport.abort()


async def _load_page(port: int, path: str) -> str:
    """Load the HTML.

    Returns:
        The cookies that it sets, as they are sent back.

    Raises:
        Refused: its status is not 200.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{BROWSER_LINES}\r\n".encode()
    )
    received = await reader.read(-1)
    writer.close()
    head, _, _ = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Refused(f"page: {head[9:40].decode(errors='replace').partition(chr(13))[0]}")
    cookies = re.findall(rb"(?i)\r\nset-cookie: ([^;\r]*)", head)
    return "; ".join(cookie.decode() for cookie in cookies)
