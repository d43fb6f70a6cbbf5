"""Pages on their way out of the app: what they are known by, and how something is put into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .asgi import Headers, Message, Send

# Bytes of a page in which a place is looked for; its head is at its start.
HEAD_BYTES = 1 << 18


class Insertion(NamedTuple):
    """What is put into a page.

    Attributes:
        position: the byte before which it is put.
        text: what is put there.
    """

    position: int
    text: bytes


# Looks at the beginning of a page; gives None while there is no place in it yet.
Find = Callable[[bytes], "Insertion | None"]


class PageResponder:
    """The response to one request. If it is a page, its start is held back until something is in it.

    Args:
        send: takes what is sent in the end.
        find: says what is put into a page, and where.
        headers: makes a page's headers of the app's, whether anything is put into it or not.
    """

    def __init__(self, send: Send, find: Find, headers: Callable[[Headers], Headers] = list) -> None:
        self._send = send
        self._find = find
        self._headers = headers
        self._start: Message | None = None  # of a page, held back
        self._head = b""

    async def send(self, message: Message) -> None:
        """Take a message of the app's."""
        if message["type"] == "http.response.start" and is_page(message.get("headers", [])):
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._look(self._start, message)
        else:
            await self._send(message)

    async def _look(self, start: Message, message: Message) -> None:
        """Take a piece of the page; send what there is if the place is in it, or will not come."""
        self._head += message.get("body", b"")
        found = self._find(self._head)
        if not found and message.get("more_body") and len(self._head) < HEAD_BYTES:
            return
        headers = self._headers(start["headers"])
        if found:
            self._head = self._head[: found.position] + found.text + self._head[found.position :]
            headers = _longer(headers, len(found.text))
        self._start = None
        await self._send({**start, "headers": headers})
        await self._send({**message, "body": self._head})


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
