"""A page's style sheets may import others: browsers are told of these with the page, and ask for them at once."""

from __future__ import annotations

import asyncio
import contextlib
import re
from urllib.parse import urljoin

from ..asgi import ASGIApp, Message, Receive, Scope, Send
from ..pages import is_page

# A style sheet of Shiny's own files, as a page names it. Nothing else can stand in a header and lead elsewhere.
SHEET = re.compile(rb'<link\b[^>]*?\bhref="(lib/[\w./@+-]+\.css)"')

# What a style sheet imports; that stands before its first rule.
IMPORT = re.compile(rb"""@import\s+(?:url\()?["']?([\w./@+-]+\.css)["']?\)?[^;{]*;""")

# Sheets whose imports are remembered: a page has a dozen.
MOST_SHEETS = 256


class PreloadMiddleware:
    """Sends a Shiny page with ``Link: <…>; rel=preload`` for what its style sheets import.

    A browser learns of an import when it has read the sheet that has it, and until the imported one has come as
    well, it neither paints nor runs a script. Shiny's Bootstrap imports that of its fonts so.

    Args:
        app: the ASGI app; it sees whole paths.
        page: the path of the page; empty if the app is not Shiny's.
    """

    def __init__(self, app: ASGIApp, page: str) -> None:
        self.app = app
        self._page = page
        self._imports: dict[str, list[str]] = {}  # of each style sheet
        self._last: tuple[bytes, bytes] = (b"", b"")  # a page, and the header that goes with it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["path"] == self._page and scope["method"] == "GET":
            send = self._linking(scope, send)
        await self.app(scope, receive, send)

    def _linking(self, scope: Scope, send: Send) -> Send:
        """The `send` of a page: its header waits for the body, if that comes in one piece."""
        start: Message | None = None

        async def send_linked(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
                return
            if start is not None:
                begun, start = start, None
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    begun = await self._linked(scope, begun, message.get("body", b""))
                await send(begun)
            await send(message)

        return send_linked

    async def _linked(self, scope: Scope, start: Message, body: bytes) -> Message:
        """A response's start with the header that its body asks for."""
        if body != self._last[0]:
            sheets = dict.fromkeys(match.decode() for match in SHEET.findall(body))
            found = [each for sheet in sheets for each in await self._imports_of(scope, sheet)]
            self._last = body, ", ".join(f"<{each}>; rel=preload; as=style" for each in found).encode()
        header = self._last[1]
        return {**start, "headers": [*start["headers"], (b"link", header)]} if header else start

    async def _imports_of(self, scope: Scope, sheet: str) -> list[str]:
        """What a style sheet imports, as paths below the page's."""
        if sheet not in self._imports and len(self._imports) < MOST_SHEETS:
            text = await self._get(scope, self._page + sheet)
            names = IMPORT.findall(text.partition(b"{")[0])
            found = (urljoin(sheet, name.decode()) for name in names)
            self._imports[sheet] = [each for each in found if each.startswith("lib/")]
        return self._imports.get(sheet, [])

    async def _get(self, scope: Scope, path: str) -> bytes:
        """Ask the app itself for a file; empty if it has none."""
        body = b""
        status = 0
        requests: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if not requests:
                await asyncio.Event().wait()  # who streams a file waits meanwhile for a disconnect that never comes
            return requests.pop()

        async def send(message: Message) -> None:
            nonlocal body, status
            status = message.get("status", status)
            body += message.get("body", b"")

        asked = {**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
        with contextlib.suppress(Exception):  # without it the page is as good, and later
            await self.app(asked, receive, send)
        return body if status == 200 else b""


def _is_page(start: Message) -> bool:
    """Whether a response is an HTML page that can be read as it is."""
    return start["status"] == 200 and is_page(start.get("headers", []))
