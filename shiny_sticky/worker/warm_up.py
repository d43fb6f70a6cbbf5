"""A worker's first page, before anybody asks for one."""

from __future__ import annotations

import contextlib

from .asgi import ASGIApp, Message, Scope
from .visitors import NOBODY


async def render_page(app: ASGIApp, path: str) -> None:
    """Ask a Shiny app for its page once, before anybody else does.

    If its UI is a function, Shiny knows a page's files (``lib/…``) only in processes that have rendered one. A page
    from one process may ask another for them: without a cookie, or because of a deploy in between.

    Args:
        app: the ASGI app.
        path: where it is mounted.
    """
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": None,
        "server": None,
        "extensions": {NOBODY: {}},
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        pass

    # A page that needs a real visitor fails here, and is none the worse for it.
    with contextlib.suppress(Exception):
        await app(scope, receive, send)
