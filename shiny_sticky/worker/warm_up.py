"""A worker's first page, before anybody asks for one."""

from __future__ import annotations

import contextlib
from typing import Any

from .asgi import ASGIApp, Message, Scope
from .visitors import NOBODY


def scope_of(kind: str, path: str, **more: Any) -> Scope:
    """The scope of a connection of this process with itself.

    Args:
        kind: ``http`` or ``websocket``.
        path: that is asked for.
        more: what that kind has besides.
    """
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": None,
        "server": None,
        **more,
    }


async def render_page(app: ASGIApp, path: str) -> None:
    """Ask a Shiny app for its page once, before anybody else does.

    If its UI is a function, Shiny knows a page's files (``lib/…``) only in processes that have rendered one. A page
    from one process may ask another for them: without a cookie, or because of a deploy in between.

    Args:
        app: the ASGI app.
        path: where it is mounted.
    """
    scope = scope_of("http", path, method="GET", scheme="http", extensions={NOBODY: {}})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        pass

    # A page that needs a real visitor fails here, and is none the worse for it.
    with contextlib.suppress(Exception):
        await app(scope, receive, send)
