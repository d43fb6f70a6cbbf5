"""Puts the browser's side of the protocol into Shiny's pages."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ..asgi import ASGIApp, Headers, Message, Receive, Scope, Send

SCRIPT = Path(__file__).with_name("resume.js").read_bytes()

# The folder below lib/: its name has the content's hash, so that nginx and browsers may keep what is in it.
FOLDER = f"shiny-sticky-{hashlib.blake2b(SCRIPT, digest_size=8).hexdigest()}"

# Where the script is. A browser may have kept a page that names an earlier one: it gets the one that there is.
ASKED = re.compile(r"/lib/shiny-sticky-[0-9a-f]{16}/resume\.js$")

# Where a page loads shiny.js, and by which path; what is put into the page has to come after it.
SHINY_JS = re.compile(
    rb"""<script\b[^>]*\bsrc=["']([^"'<>]*\blib/)shiny-[^"'<>/]*/shiny(?:\.min)?\.js["'][^>]*></script>"""
)

# Bytes of a page in which shiny.js is looked for; it is at its start.
HEAD_BYTES = 1 << 18


class PageScriptMiddleware:
    """Adds a script to each page that loads shiny.js, behind it, and serves it.

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "GET":
            if ASKED.search(scope["path"]):
                await _serve_script(send)
                return
            send = _PageResponder(send).send
        await self.app(scope, receive, send)


class _PageResponder:
    """The response to one request: if it is a page, its start is held back until the script is in it.

    Args:
        send: takes what is sent in the end.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None  # of a page, held back
        self._head = b""

    async def send(self, message: Message) -> None:
        """Take a message of the app's."""
        if message["type"] == "http.response.start" and is_page(message["headers"]):
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._look(self._start, message)
        else:
            await self._send(message)

    async def _look(self, start: Message, message: Message) -> None:
        """Take a piece of the page; send what there is if shiny.js is in it, or will not come."""
        self._head += message.get("body", b"")
        found = SHINY_JS.search(self._head)
        if not found and message.get("more_body") and len(self._head) < HEAD_BYTES:
            return
        if found:
            script = b'\n    <script src="%s%s/resume.js"></script>' % (found[1], FOLDER.encode())
            self._head = self._head[: found.end()] + script + self._head[found.end() :]
            start = {**start, "headers": _longer(start["headers"], len(script))}
        self._start = None
        await self._send(start)
        await self._send({**message, "body": self._head})


async def _serve_script(send: Send) -> None:
    headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(SCRIPT)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": SCRIPT})


def is_page(headers: Headers) -> bool:
    """Whether a response is HTML that can be read."""
    given = {key.lower(): value for key, value in headers}
    return given.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in given


def _longer(headers: Headers, more: int) -> Headers:
    """A response's headers for a body of some more bytes."""
    return [
        (key, str(int(value) + more).encode() if key.lower() == b"content-length" else value)
        for key, value in headers
    ]
