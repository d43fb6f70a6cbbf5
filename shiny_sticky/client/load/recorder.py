"""What a visitor does is recorded on its way through a proxy on this machine."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from shiny_sticky.client.load import messages
from shiny_sticky.client.load.clock import ArrivalClock
from shiny_sticky.client.load.connections import (
    Answer,
    ConnectionFailed,
    Headers,
    HttpConnection,
    WebSocket,
    connected,
)
from shiny_sticky.client.load.recording import Event, Kind, Writer, taken_out
from shiny_sticky.client.load.target import Target
from shiny_sticky.client.load.visit import WORKER

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Of one connection, and not of what is said through it.
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

# The proxy has its own of these. A browser's cookies are for all ports of a machine, also those of other sites.
OWN = {"host", "cookie", "origin", "referer", "content-length"}

# The script that lets a session of this product outlive its connection, which a recorded one must not: what is
# played is Shiny's own protocol. The page gets an empty one.
PAGE_SCRIPT = re.compile(r"/lib/shiny-sticky-[0-9a-f]+/page\.js")

REFUSED = 403
BAD_GATEWAY = 502
TRY_LATER = 1013


class Recorder:
    """An ASGI app that passes everything on to a site, and writes it down.

    Args:
        target: the site.
        writer: of the recording.
        clock: of the loop.
        on_end: called once, with the reason, when the visit is over.

    Attributes:
        origin: where the browser finds this app; to be set before it comes.
    """

    def __init__(self, target: Target, writer: Writer, clock: ArrivalClock, on_end: Callable[[str], None]) -> None:
        self.origin = ""
        self._target = target
        self._writer = writer
        self._clock = clock
        self._on_end = on_end
        self._cookies: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._has_session = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, headers)
        elif not self._is_our_page(headers):
            await _say(send, REFUSED, f"This is a proxy for one page, at {self.origin}/")
        else:
            await self._request(scope, receive, send, headers)

    def _is_our_page(self, headers: dict[str, str]) -> bool:
        """Whether it is our own page that asks: what the site is told for us is not for any page that finds us."""
        host = self.origin.partition("://")[2]
        return headers.get("host") == host and headers.get("origin", self.origin) == self.origin

    async def _request(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        body = await _body(receive)
        query = scope["query_string"].decode("latin-1")
        url = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        begin = time.time()
        try:
            answer = await self._ask(scope["method"], url, headers, body)
        except ConnectionFailed as error:
            await _say(send, BAD_GATEWAY, f"{self._target.url}: {error}")
            return
        self._remember(url, answer)
        if scope["method"] in ("GET", "POST") and not url.partition("?")[0].endswith("/favicon.ico"):
            self._write_request(scope["method"], url, begin, answer, body)
        if PAGE_SCRIPT.search(url):
            answer = Answer(answer.status, [("content-type", "text/javascript")], b"", answer.came)
        await send({"type": "http.response.start", "status": answer.status, "headers": self._passed_back(answer)})
        await send({"type": "http.response.body", "body": answer.body})

    async def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        connection = await connected(self._target.place, lambda: HttpConnection(self._clock))
        kept = [(name, value) for name, value in headers.items() if name not in HOP_BY_HOP | OWN]
        if _kind(method, url) in (Kind.PAGE, Kind.TOKEN):  # these are read here
            kept = [(name, value) for name, value in kept if name != "accept-encoding"]
        try:
            passed = [*self._own_headers("origin" in headers), *kept]
            return await connection.ask(method, self._target.path(url), passed, body, keeps_body=True)
        finally:
            connection.close()

    def _own_headers(self, has_origin: bool) -> Headers:
        own = [("Host", self._target.place.netloc), *self._target.headers]
        if has_origin:
            own.append(("Origin", self._target.origin))
        if self._cookies:
            own.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())))
        return own

    def _remember(self, url: str, answer: Answer) -> None:
        """Keep the site's cookies, and what later addresses name."""
        self._cookies |= answer.cookies
        kind = _kind("GET", url)
        if kind is Kind.TOKEN:
            self._values["TOKEN"] = answer.body.decode(errors="replace")
        elif kind is Kind.PAGE and (found := WORKER.search(answer.body.decode(errors="replace"))):
            self._values["WORKER"] = found[1]
        elif found := re.search(r"/__sockjs__/(?:.*/)?n=(\w+)", url):
            self._values["ROBUST_ID"] = found[1]

    def _write_request(self, method: str, url: str, begin: float, answer: Answer, body: bytes) -> None:
        kept = self._writer.keep_body(body) if body else ""
        self._writer.write(
            Event(
                _kind(method, url),
                begin,
                time.time(),
                url=taken_out(url, self._values),
                status=answer.status,
                datafile=kept,
            )
        )

    def _passed_back(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        """An answer's headers for the browser; the site's own address becomes the proxy's, cookies stay here."""
        kept = []
        for name, value in answer.headers:
            if name == "location" and value.startswith(self._target.url):
                value = f"{self.origin}/{value.removeprefix(self._target.url)}"
            if name not in HOP_BY_HOP and name != "set-cookie":
                kept.append((name.encode("latin-1"), value.encode("latin-1")))
        return kept

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        """Pass on what both sides say, until one of them ends it."""
        await receive()
        if not self._is_our_page(headers) or self._has_session:
            await send({"type": "websocket.close", "code": TRY_LATER, "reason": "one visitor is recorded"})
            return
        self._has_session = True
        path = scope["raw_path"].decode("latin-1")
        if found := re.search(r"/(\w+/\w+)/websocket$", path):
            self._values["SOCKJSID"] = found[1]
        now = time.time()
        self._writer.write(Event(Kind.OPEN, now, now, url=taken_out(path, self._values)))
        from_site: asyncio.Queue[str | None] = asyncio.Queue()
        url = self._target.websocket(path)
        try:
            site = await connected(
                self._target.place,
                lambda: WebSocket(
                    self._clock,
                    url,
                    [*self._own_headers(True), ("User-Agent", headers.get("user-agent", ""))],
                    lambda text, at: from_site.put_nowait(text),
                    lambda why: from_site.put_nowait(None),
                ),
            )
            await site.opened
        except ConnectionFailed as error:
            await send({"type": "websocket.close", "code": TRY_LATER})
            self._end(f"The site gave no websocket ({error})")
            return
        await send({"type": "websocket.accept"})
        back = asyncio.create_task(self._from_site(from_site, send))
        why = await self._from_page(receive, site, back)
        site.close()
        back.cancel()
        self._end(why)

    async def _from_site(self, from_site: asyncio.Queue[str | None], send: Send) -> None:
        """Pass on and write down what the site says."""
        while (text := await from_site.get()) is not None:
            now = time.time()
            if messages.is_kept(text):
                kind = self._received(text)
                self._writer.write(Event(kind, now, now, message=taken_out(text, self._values)))
            await send({"type": "websocket.send", "text": text})

    def _received(self, text: str) -> Kind:
        """What kind of event a message from the site is; what later messages name is remembered."""
        if found := messages.session_id(text):
            self._values["SESSION"] = found
            return Kind.INIT
        if begun := messages.upload(text):
            self._values["UPLOAD_JOB_ID"] = begun[0]
            return Kind.BEGIN_UPLOAD
        return Kind.RECEIVE

    async def _from_page(self, receive: Receive, site: WebSocket, back: asyncio.Task[None]) -> str:
        """Pass on and write down what the page says.

        Returns:
            Who has ended it.
        """
        while True:
            hears = asyncio.ensure_future(receive())
            await asyncio.wait({hears, back}, return_when=asyncio.FIRST_COMPLETED)
            if not hears.done():
                hears.cancel()
                return "The site has closed the session"
            message = hears.result()
            if message["type"] == "websocket.disconnect":
                return "The page was closed"
            text = message.get("text")
            if text is None:
                continue
            if messages.is_kept(text):
                now = time.time()
                self._writer.write(Event(Kind.SEND, now, now, message=taken_out(text, self._values)))
            try:
                site.send(text)
            except ConnectionFailed:
                return "The site has closed the session"

    def _end(self, why: str) -> None:
        now = time.time()
        self._writer.write(Event(Kind.CLOSE, now, now))
        self._writer.close()
        self._on_end(why)


def _kind(method: str, url: str) -> Kind:
    """What kind of event a request is."""
    path = url.partition("?")[0].lower()
    if method == "POST":
        return Kind.POST
    if path.endswith(("/", ".rmd")):
        return Kind.PAGE
    if "__token__" in path:
        return Kind.TOKEN
    if re.search(r"/__sockjs__/(?:.*/)?n=\w+", path):
        return Kind.SOCKJS_INFO
    return Kind.GET


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _say(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
