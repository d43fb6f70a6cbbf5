"""Puts the browser's side of what the worker does into Shiny's pages: scripts, served below lib/."""

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

# By name: lets sessions, and what is uploaded, outlive their connections; begins new sessions when the process of
# theirs is gone; tells visitors what goes on.
SCRIPTS = {
    "resume.js": b"".join((HERE / "resume" / name).read_bytes() for name in ("resume.js", "uploads.js")),
    "reconnect.js": (HERE / "reconnect.js").read_bytes(),
    "notices.js": (HERE / "notices.js").read_bytes(),
}

# The folder below lib/: its name has the contents' hash, so that nginx and browsers may keep what is in it.
FOLDER = f"shiny-sticky-{hashlib.blake2b(b''.join(SCRIPTS.values()), digest_size=8).hexdigest()}"

# Where the scripts are. A browser may have kept a page that names earlier ones: it gets those that there are.
ASKED = re.compile(r"/lib/shiny-sticky-[0-9a-f]{16}/(resume\.js|reconnect\.js|notices\.js)$")

# Where a page loads shiny.js, and by which path; what is put into the page has to come after it.
SHINY_JS = re.compile(
    rb"""<script\b[^>]*\bsrc=["']([^"'<>]*\blib/)shiny-[^"'<>/]*/shiny(?:\.min)?\.js["'][^>]*></script>"""
)


class PageScriptMiddleware:
    """Adds the scripts to each page that loads shiny.js, behind it, and serves them.

    Args:
        app: the ASGI app.
        notices: how visitors are told what goes on; None where they are not.
        reconnect: what a page does when the process is gone that had its session: "inputs", "ask" or "off".
    """

    def __init__(self, app: ASGIApp, notices: NoticeOptions | None = None, reconnect: str = "off") -> None:
        self.app = app
        self._tags = [("resume.js", "")]
        mode = f' data-reconnect="{reconnect}"'
        if reconnect != "off":
            self._tags.append(("reconnect.js", mode))
        if notices is not None:
            texts = html.escape(json.dumps(notices.texts))
            self._tags.append(("notices.js", f' data-texts="{texts}"{mode} defer'))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "GET":
            if asked := ASKED.search(scope["path"]):
                await _serve(SCRIPTS[asked[1]], send)
                return
            send = PageResponder(send, self._find_place).send
        await self.app(scope, receive, send)

    def _find_place(self, page: bytes) -> Insertion | None:
        """The scripts go behind shiny.js, and are asked for by the same path."""
        found = SHINY_JS.search(page)
        if not found:
            return None
        folder = found[1].decode() + FOLDER
        tags = [f'\n    <script src="{folder}/{name}"{attributes}></script>' for name, attributes in self._tags]
        return Insertion(found.end(), "".join(tags).encode())


async def _serve(script: bytes, send: Send) -> None:
    headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(script)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": script})
