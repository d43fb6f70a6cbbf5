"""Large messages of a websocket are compressed, each by itself; small ones are sent as they are."""

import http.client
import socket
import struct
import zlib

import pytest

from shiny_sticky.worker.message_compression import compressing
from support.real_site import APPS, Site
from support.waiting import PATIENCE

APP = {"target": str(APPS / "parrot.py"), "workers": 1}
OFFER = "permessage-deflate; client_max_window_bits"  # as Chromium's
KB = 1024


@pytest.fixture(scope="module")
def site():
    """An app whose websocket says what it is told: as it comes, compressing all, and compressing nothing."""
    apps = {
        "app": APP,
        "all": {**APP, "path": "/all/", "compress_messages": 0},
        "none": {**APP, "path": "/none/", "compress_messages": None},
    }
    with Site(apps) as shared:
        yield shared.start()


class Wire:
    """A websocket, frame by frame.

    Attributes:
        agreed: what the server says of extensions; empty if nothing.
    """

    def __init__(self, site, path, offer=OFFER):
        self._socket = socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE)
        lines = [f"GET {path} HTTP/1.1", "Host: here", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
        lines += [f"Sec-WebSocket-Extensions: {offer}"] if offer else []
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._stream = self._socket.makefile("rb")
        assert b" 101 " in self._stream.readline()
        self.agreed = http.client.parse_headers(self._stream).get("Sec-WebSocket-Extensions", "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._socket.close()

    def say(self, data, first=0x81):
        """Send a message, masked with zeros; give the answer's data, and whether they are compressed."""
        self._socket.sendall(struct.pack("!BBH", first, 0xFE, len(data)) + bytes(4) + data)
        first, size = self._stream.read(2)
        if size >= 126:
            size = int.from_bytes(self._stream.read(2 if size == 126 else 8), "big")
        assert first in (0x81, 0xC1)
        return self._stream.read(size), first == 0xC1


def unpacked(data):
    """A message that was compressed without regard to others."""
    return zlib.decompressobj(-12).decompress(data + b"\x00\x00\xff\xff")


@pytest.mark.parametrize(("path", "smallest"), [("/", KB), ("/all/", 0), ("/none/", 1 << 20)])
def test_messages_are_compressed_from_a_size_on(site, path, smallest):
    with Wire(site, path) as wire:
        for size in (1, 60, KB - 1, KB, 40_000):
            text = b"ab" * (size // 2) + b"c" * (size % 2)
            for _ in range(2):  # nor is the first of any use to the second
                data, packed = wire.say(text)
                assert packed == (size >= smallest)
                assert (unpacked(data) if packed else data) == text
                assert not packed or size < KB or len(data) < size / 10


def test_nothing_is_kept_for_a_connection_on_either_side(site):
    with Wire(site, "/") as wire:
        name, *parameters = wire.agreed.split("; ")
        assert name == "permessage-deflate"
        assert {"server_no_context_takeover", "client_no_context_takeover"} <= set(parameters)


def test_what_a_browser_has_compressed_is_understood(site):
    with Wire(site, "/") as wire:
        for text in (b"few", b"much " * 300):
            packer = zlib.compressobj(wbits=-12)
            packed = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")
            data, compressed = wire.say(packed, first=0xC1)
            assert (unpacked(data) if compressed else data) == text


@pytest.mark.parametrize(("path", "offer"), [("/", ""), ("/", "x-other"), ("/none/", OFFER)])
def test_nothing_is_compressed_where_one_side_does_not_want_it(site, path, offer):
    with Wire(site, path, offer) as wire:
        assert wire.agreed == ""
        assert wire.say(b"x" * 5000) == (b"x" * 5000, False)


def test_other_protocols_of_uvicorn_compress_as_they_do():
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    assert compressing(WSProtocol, KB) is WSProtocol
    assert compressing(None, KB) is None
