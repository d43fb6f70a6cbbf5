"""A backend that echoes websocket frames: ``python benchmarks/echo.py SOCKET...``.

It understands just what ``load.Tab`` sends, so that a round trip is the front's time more than Python's: binary
frames of one length (`FRAME`), masked with zeros. A front passes all frames on unread. Any other request is
answered with the socket's name.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from pathlib import Path

import uvloop

PAYLOAD = 64
TO_SERVER = bytes([0x82, 0x80 | PAYLOAD]) + bytes(4)  # a binary frame's head, with a mask of zeros
TO_CLIENT = bytes([0x82, PAYLOAD])
FRAME = len(TO_SERVER) + PAYLOAD
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455


class Echo(asyncio.Protocol):
    """One connection from the front."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._received = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer by."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a handshake or a request once it is complete, and every complete frame."""
        self._received += data
        if not self._upgraded and b"\r\n\r\n" in self._received:
            self._answer(self._received.partition(b"\r\n\r\n")[0])
            self._received = b""
        while self._upgraded and len(self._received) >= FRAME:
            if not self._received.startswith(TO_SERVER):  # a close
                self._transport.close()
                return
            self._transport.write(TO_CLIENT + self._received[len(TO_SERVER) : FRAME])
            self._received = self._received[FRAME:]

    def _answer(self, head: bytes) -> None:
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        self._upgraded = b"sec-websocket-key" in headers
        if self._upgraded:
            accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"X-Sticky-Worker: " + self._name + b"\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        else:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nX-Sticky-Worker: %s\r\nContent-Length: %d\r\n\r\n%s"
                % (self._name, len(self._name), self._name)
            )


async def serve(files: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for file in files:
        await loop.create_unix_server(lambda name=Path(file).stem: Echo(name), file, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1:]))
