"""Puts the browser's side of what the worker does into Shiny's pages: a script, served below lib/."""

from __future__ import annotations

import hashlib
import html
import json
import re
from pathlib import Path

from ..asgi import ASGIApp, Receive, Scope, Send
from ..options import NoticeOptions
from ..pages import Insertion, PageResponder

HERE = Path(__file__).parent.parent

# The first two let sessions, and what is uploaded, outlive their connections; the third begins a new session when a
# page's process is gone; the last tells visitors what goes on.
PARTS = ("resume/resume.js", "resume/uploads.js", "reconnect.js", "notices.js")

# In one file: each further request is one that a page waits for. What its tag says decides which parts act.
SCRIPT = b"".join((HERE / part).read_bytes() for part in PARTS)
NAME = "page.js"

# The folder below lib/: its name has the content's hash, so that nginx and browsers may keep what is in it.
FOLDER = f"shiny-sticky-{hashlib.blake2b(SCRIPT, digest_size=8).hexdigest()}"

# Where the script is. A browser may have kept a page that names an earlier one: it gets the one that there is.
ASKED = re.compile(rf"/lib/shiny-sticky-[0-9a-f]{{16}}/{re.escape(NAME)}$")

# Where a page loads shiny.js, and by which path; what is put into the page comes after it.
SHINY_JS = re.compile(
    rb"""<script\b[^>]*\bsrc=["']([^"'<>]*\blib/)shiny-[^"'<>/]*/shiny(?:\.min)?\.js["'][^>]*></script>"""
)


class PageScriptMiddleware:
    """Adds the script to each page that loads shiny.js, behind it, and serves it.

    Args:
        app: the ASGI app.
        notices: how visitors are told what goes on; None where they are not.
        reconnect: what a page does when the process is gone that had its session: "inputs", "ask" or "off".
    """

    def __init__(self, app: ASGIApp, notices: NoticeOptions | None = None, reconnect: str = "off") -> None:
        self.app = app
        self._attributes = f' data-reconnect="{reconnect}"'
        if notices is not None:
            self._attributes += f' data-texts="{html.escape(json.dumps(notices.texts))}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "GET":
            if ASKED.search(scope["path"]):
                await _serve(SCRIPT, send)
                return
            send = PageResponder(send, self._find_place).send
        await self.app(scope, receive, send)

    def _find_place(self, page: bytes) -> Insertion | None:
        """The script goes behind shiny.js, and is asked for by the same path."""
        found = SHINY_JS.search(page)
        if not found:
            return None
        source = f"{found[1].decode()}{FOLDER}/{NAME}"
        return Insertion(found.end(), f'\n    <script src="{source}"{self._attributes}></script>'.encode())


async def _serve(script: bytes, send: Send) -> None:
    headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(script)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": script})
