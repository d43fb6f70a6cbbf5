"""A page of Shiny's, and what middleware makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

PAGE = b'<head><script src="lib/shiny-1.8.0/shiny.js"></script><script src="own.js"></script></head>'


def served(middleware: Callable[[Any], Any], *pieces: bytes) -> tuple[int, str]:
    """What becomes of a page: the length that its header says, and its text.

    Args:
        middleware: puts an ASGI app behind itself.
        pieces: of the page.
    """
    sent = []

    async def app(scope, receive, send):
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(b"".join(pieces))).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/"}
    asyncio.run(middleware(app)(scope, None, send))
    return int(dict(sent[0]["headers"])[b"content-length"]), b"".join(each["body"] for each in sent[1:]).decode()
