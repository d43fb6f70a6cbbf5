"""Pages that come back by themselves with new code, while it is being written: ``--reload``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..asgi import ASGIApp, Headers, Receive, Scope, Send
from ..draining import WorkerState
from ..pages import Insertion, PageResponder

SCRIPT = Path(__file__).parent.parent / "autoreload.js"

# Where, below its mount, an app that is served with --reload has this.
PATH = "__sticky/autoreload"

# The code with which uvicorn, too, closes a websocket whose process ends.
SERVICE_RESTART = 1012

# A page with another script in it is another page: browsers must not take the one that they keep for it.
CONDITIONS = (b"if-none-match", b"if-modified-since")
OF_CONTENT = (b"content-length", b"etag", b"last-modified", b"cache-control")


class AutoreloadMiddleware:
    """Puts a script into each page, and tells that, on a websocket, which release this process serves.

    The websocket ends when the process drains. The page then asks the one that serves instead, and comes back if
    that serves another release than the page is of.

    Args:
        app: the ASGI app; it sees whole paths.
        state: tells when the process drains.
        path: where the app is mounted, with a slash at its end.
        release: what tells this release from the next: letters and digits.
    """

    def __init__(self, app: ASGIApp, state: WorkerState, path: str, release: str) -> None:
        self.app = app
        self._state = state
        self._path = path + PATH
        self._release = release
        self._tag = f'<script src="{self._path}.js?release={release}" defer></script>\n'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        path = scope.get("path")
        if scope["type"] == "websocket" and path == self._path:
            await self._tell(receive, send)
        elif scope["type"] == "http" and path == f"{self._path}.js":
            await _send_script(send)
        elif scope["type"] == "http":
            responder = PageResponder(send, self._find_place, _not_kept)
            await self.app(_unconditional(scope), receive, responder.send)
        else:
            await self.app(scope, receive, send)

    async def _tell(self, receive: Receive, send: Send) -> None:
        """Say the release, and close when the process drains."""
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": self._release})
        ends = [asyncio.ensure_future(wait) for wait in (self._state.drain_started(), _left(receive))]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if not ends[1].done():
            await send({"type": "websocket.close", "code": SERVICE_RESTART})

    def _find_place(self, page: bytes) -> Insertion | None:
        """The script goes to the end of the head."""
        end = page.find(b"</head>")
        return Insertion(end, self._tag) if end >= 0 else None


def _not_kept(headers: Headers) -> Headers:
    """The headers of a page that no browser keeps."""
    return [*(pair for pair in headers if pair[0].lower() not in OF_CONTENT), (b"cache-control", b"no-store")]


async def _left(receive: Receive) -> None:
    """Wait until the page has gone."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _unconditional(scope: Scope) -> Scope:
    """A request without the conditions under which a browser would go on with the page that it keeps."""
    if not any(key == b"accept" and b"text/html" in value for key, value in scope["headers"]):
        return scope
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in CONDITIONS]}


async def _send_script(send: Send) -> None:
    headers = [(b"content-type", b"text/javascript; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": SCRIPT.read_bytes()})
