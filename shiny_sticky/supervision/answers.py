"""What the launcher itself answers to requests that nginx passes on to it."""

from __future__ import annotations


def http_answer(status: str, content_type: str, body: bytes, again: int | None = None) -> bytes:
    """An answer of HTTP/1.1, the last on its connection, which nobody keeps.

    Args:
        status: such as ``200 OK``.
        content_type: of the body.
        body: all of it.
        again: seconds after which to come again; None for nothing of the kind.
    """
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *([] if again is None else [f"Retry-After: {again}"]),
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body
