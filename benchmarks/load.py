"""Clients: wrk, single requests counted on the wire, a browser's page loads, Shiny sessions, websockets."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import gzip
import html.parser
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path

import brotli
import websockets.asyncio.client
import zstandard

import echo

HERE = Path(__file__).resolve().parent

# What browsers say that they take.
ENCODINGS = "gzip, deflate, br, zstd"
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "Accept": "*/*",
    "Accept-Encoding": ENCODINGS,
    "Accept-Language": "en",
}
BROWSER_LINES = "".join(f"{name}: {value}\r\n" for name, value in BROWSER.items())

Headers = dict[str, str]


# --- one request


@dataclass(frozen=True)
class Reply:
    """A response.

    Attributes:
        status: of it.
        headers: with names in lower case.
        body: decoded, if it came compressed.
        cookie: what a browser keeps of its Set-Cookie, as it sends it back; empty if there is none.
        wire: bytes that came, head included.
    """

    status: int
    headers: Headers
    body: bytes
    cookie: str
    wire: int


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


class _Wire(io.BytesIO):
    """Received bytes in the place of a socket, for http.client to take apart."""

    def makefile(self, *_: object) -> _Wire:
        return self


def fetch(address: int | Path, path: str, headers: Headers | None = None) -> Reply:
    """Make one GET request on a connection of its own.

    Args:
        address: a port of 127.0.0.1, or a unix socket.
        path: the request's.
        headers: besides Host and Connection.
    """
    at_port = isinstance(address, int)
    with socket.socket(socket.AF_INET if at_port else socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(("127.0.0.1", address) if at_port else str(address))
        head = {"Host": "localhost", "Connection": "close", **(headers or {})}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    response = http.client.HTTPResponse(_Wire(received), method="GET")  # type: ignore[arg-type]
    response.begin()
    found = {name.lower(): value for name, value in response.getheaders()}
    morsels = SimpleCookie(found.get("set-cookie", ""))
    return Reply(
        response.status,
        found,
        DECODERS[found.get("content-encoding", "")](response.read()),
        "; ".join(f"{name}={morsel.coded_value}" for name, morsel in morsels.items()),
        len(received),
    )


# --- wrk


def wrk(port: int, seconds: float, requests: list[tuple[str, Headers]], connections: int = 16) -> dict[str, float]:
    """Let wrk go round a list of requests, on connections that stay open.

    Returns:
        requests, seconds, bytes, p50_us, p99_us, broken (connections), refused (status of 400 or more).
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        rows = (f"{{{json.dumps(path)}, {_lua_table(headers)}}}" for path, headers in requests)
        file.write(f"return {{{', '.join(rows)}}}\n")
        file.flush()
        # Its own time is in whole seconds; it sums up as well when it is interrupted.
        command = ["wrk", "-t1", f"-c{connections}", "-d1h", "-s", str(HERE / "requests.lua")]
        with subprocess.Popen(
            [*command, f"http://127.0.0.1:{port}/", "--", file.name], stdout=subprocess.PIPE, text=True
        ) as running:
            try:
                while not _takes_interrupts(running.pid):
                    time.sleep(0.01)
                time.sleep(seconds)
                running.send_signal(signal.SIGINT)
                printed, _ = running.communicate(timeout=30)
            finally:
                running.kill()
    return json.loads(printed.splitlines()[-1])


def _takes_interrupts(pid: int) -> bool:
    """Whether a process has come so far that it handles SIGINT, or has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    handled = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return "\nState:\tZ" in status or (handled is not None and int(handled[1], 16) >> (signal.SIGINT - 1) & 1 == 1)


def _lua_table(headers: Headers) -> str:
    return f"{{{', '.join(f'[{json.dumps(name)}] = {json.dumps(value)}' for name, value in headers.items())}}}"


# --- a browser that loads the page


class _Named(html.parser.HTMLParser):
    """What a page names: scripts, style sheets, pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        url = attributes.get({"script": "src", "img": "src", "link": "href"}.get(tag, ""))
        if url and not url.startswith("data:"):
            self.urls.append("/" + url.lstrip("/"))


@dataclass
class Browser:
    """A browser at a port: its cookie, and its cache.

    Attributes:
        cookie: sent with each request, as the last Set-Cookie said.
        requests: made so far.
        wire: bytes received so far.
        replies: of the last load, by path.
    """

    port: int
    cookie: str = ""
    requests: int = 0
    wire: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)
    _cache: dict[str, tuple[float, Reply]] = field(default_factory=dict)

    def load(self, path: str = "/") -> Browser:
        """Load the page and everything that it names."""
        self.replies = {path: self._get(path)}
        page = _Named()
        page.feed(self.replies[path].body.decode())
        for url in dict.fromkeys(page.urls):
            self.replies[url] = self._get(url)
        return self

    def _get(self, path: str) -> Reply:
        """As RFC 9111 has it: fresh from the cache, asked about, or anew.

        Where a response does not say how long it is fresh, it is asked about. (Browsers guess then, by the file's
        age; how well that works depends on when the packages were installed.)
        """
        headers = dict(BROWSER)
        if self.cookie:
            headers["Cookie"] = self.cookie
        since, kept = self._cache.get(path, (0.0, None))
        if kept is not None:
            if time.time() - since < _lifetime(kept.headers):
                return kept
            if etag := kept.headers.get("etag"):
                headers["If-None-Match"] = etag
            if modified := kept.headers.get("last-modified"):
                headers["If-Modified-Since"] = modified
        reply = fetch(self.port, path, headers)
        self.requests += 1
        self.wire += reply.wire
        self.cookie = reply.cookie or self.cookie
        if reply.status == 304 and kept is not None:
            reply = kept
        if reply.status == 200 and "no-store" not in reply.headers.get("cache-control", ""):
            self._cache[path] = (time.time(), reply)
        return reply


def _lifetime(headers: Headers) -> float:
    """Seconds that a response is fresh, by what it says itself."""
    control = headers.get("cache-control", "")
    if "no-cache" in control or "no-store" in control:
        return 0
    if found := re.search(r"max-age=(\d+)", control):
        return float(found[1]) - float(headers.get("age", 0))
    if "expires" in headers and "date" in headers:
        end, now = (email.utils.parsedate_to_datetime(headers[name]) for name in ("expires", "date"))
        return (end - now).total_seconds()
    return 0


# --- Shiny sessions


async def shiny_sessions(port: int, seconds: float, at_a_time: int = 8) -> dict[str, float]:
    """Open one new session after another: page, websocket, init, until the first output is there.

    Returns:
        sessions, failed, seconds, p50_ms (of one).
    """
    times: list[float] = []
    failed = 0
    began = time.monotonic()

    async def visitor() -> None:
        nonlocal failed
        while time.monotonic() - began < seconds:
            start = time.monotonic()
            try:
                async with asyncio.timeout(20):
                    await _shiny_session(port)
                times.append(time.monotonic() - start)
            except (OSError, TimeoutError, ValueError, websockets.WebSocketException):
                failed += 1

    await asyncio.gather(*(visitor() for _ in range(at_a_time)))
    elapsed = time.monotonic() - began
    p50 = sorted(times)[len(times) // 2] if times else float("nan")
    return {"sessions": len(times), "failed": failed, "seconds": elapsed, "p50_ms": 1000 * p50}


async def _shiny_session(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{BROWSER_LINES}\r\n"
    writer.write(head.encode())
    received = await reader.read(-1)
    writer.close()
    status, _, _ = received.partition(b"\r\n")
    if b" 200 " not in status:
        raise ValueError(f"the page: {status!r}")
    cookies = re.findall(rb"\r\nset-cookie: ([^;\r]*)", received.partition(b"\r\n\r\n")[0], re.IGNORECASE)
    headers = {"Cookie": "; ".join(cookie.decode() for cookie in cookies)} if cookies else {}
    url = f"ws://127.0.0.1:{port}/websocket/"
    async with websockets.asyncio.client.connect(url, additional_headers=headers, proxy=None) as tab:
        data = {".clientdata_pixelratio": 1, ".clientdata_output_worker_hidden": False, "clicks:shiny.action": 0}
        await tab.send(json.dumps({"method": "init", "data": data}))
        async for message in tab:
            if "worker" in json.loads(message).get("values", {}):
                return
    raise ValueError("closed before the first output")


# --- plain websockets


class Tab(asyncio.Protocol):
    """One websocket to an echo worker (see echo.py), through the front.

    Frames are taken apart by their length alone, which a Python library would spend most of a round trip on.

    Attributes:
        echoes: times of the round trips, in seconds.
    """

    def __init__(self) -> None:
        self.echoes: list[float] = []
        self.closed = False
        self._received = b""
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, port: int, cookie: str) -> Tab:
        """Connect, and upgrade.

        Raises:
            OSError: refused, or not upgraded.
        """
        loop = asyncio.get_running_loop()
        _, tab = await loop.create_connection(cls, "127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        await tab._ask(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"{BROWSER_LINES}Cookie: {cookie}\r\n\r\n".encode(),
            lambda received: b"\r\n\r\n" in received,
        )
        if not tab._received.startswith(b"HTTP/1.1 101 "):
            raise OSError(f"no websocket: {tab._received[:80]!r}")
        return tab

    async def echo(self) -> None:
        """Send a message, wait until it is back, and note how long that took.

        Raises:
            OSError: it broke.
        """
        began = time.perf_counter()
        size = len(echo.TO_CLIENT) + echo.PAYLOAD
        await self._ask(echo.TO_SERVER + bytes(echo.PAYLOAD), lambda received: len(received) >= size)
        self.echoes.append(time.perf_counter() - began)

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    async def _ask(self, data: bytes, complete: Callable[[bytes], bool]) -> None:
        if self.closed:
            raise OSError("closed")
        self._received, self._complete = b"", complete
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        await self._waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to send by."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Wake who waits for it, once it is complete."""
        self._received += data
        if self._waiting and not self._waiting.done() and self._complete(self._received):
            self._waiting.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Wake who waits in vain."""
        self.closed = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(OSError("closed"))


async def open_tabs(port: int, cookies: list[str], count: int, at_a_time: int = 64) -> list[Tab]:
    """Open many websockets; those that fail are left out."""
    turns = asyncio.Semaphore(at_a_time)

    async def one(number: int) -> Tab | None:
        async with turns:
            try:
                async with asyncio.timeout(20):
                    return await Tab.open(port, cookies[number % len(cookies)])
            except OSError:
                return None

    return [tab for tab in await asyncio.gather(*map(one, range(count))) if tab]


async def echo_for(tabs: list[Tab], seconds: float) -> None:
    """Let all tabs send one message after another."""
    end = time.monotonic() + seconds

    async def one(tab: Tab) -> None:
        while time.monotonic() < end:
            await tab.echo()

    await asyncio.gather(*map(one, tabs))


async def still_echo(tabs: list[Tab]) -> int:
    """How many tabs get one more message back."""

    async def one(tab: Tab) -> bool:
        try:
            async with asyncio.timeout(20):
                await tab.echo()
        except OSError:
            return False
        return True

    return sum(await asyncio.gather(*map(one, tabs)))
