"""What goes over a resumable websocket besides the app's own messages.

An app's text goes as it is. Everything else is a binary message whose first byte says what it is; ``resume.js`` has
the same table.
"""

from __future__ import annotations

import json
import re
from typing import Any, Union

from ..asgi import Message

# The websocket subprotocol by which a page says that it speaks this: RFC 6455, section 1.9.
SUBPROTOCOL = "resume.shiny-sticky"

# Where a session is resumed, by its process and id.
RESUMED_AT = re.compile(r"/session/(?P<process>[^/]+)-(?P<id>[0-9a-f]{32})/resume$")

DATA = b"\x00"
"""A binary message of the app's."""

HELLO = b"\x01"
"""The worker's first message of a new session, which a page acknowledges (0) at once.

JSON: `session`, `secret`, `timeout` (seconds), `page` (what the page shows to a session that follows this one).
"""

RESUME = b"\x02"
"""The page's first message on a further connection. JSON: `secret`, `next` (the number that it expects)."""

RESUMED = b"\x03"
"""The worker's answer to it. JSON: `secret` (the next one), `next` (the number that it expects)."""

ACK = b"\x04"
"""What has been received: the number that is expected next, in decimal digits."""

PING = b"\x05"
"""Are you there?"""

PONG = b"\x06"
"""Yes."""

BYE = b"\x07"
"""The page is closed for good: nobody will resume it. From the worker: the app has closed the session."""

NOTICE = b"\x08"
"""Something for the visitor. JSON: `kind`, and by that `seconds` or `text`; see :mod:`..notices`."""

BOOKMARK = b"\x09"
"""What the page's next session begins with, should this process be gone. JSON: `query`, in place of one before."""

# Codes that a worker closes a connection with: RFC 6455, section 7.4.2, leaves 4000 to 4999 to applications.
RETIRED = 4409
"""Another connection carries the session now."""

SILENT = 4408
"""Nothing was heard of the page for too long; it may resume."""

REFUSED = 4403
"""Not this page's session, or what it says cannot be."""

GONE = 4410
"""There is no such session; as 410 in HTTP."""

# A control message has no more bytes.
LONGEST = 512

Payload = Union[str, bytes]  # noqa: UP007  Python 3.9 runs this


class ProtocolViolation(ValueError):
    """The other side has said what cannot be."""


def encode(kind: bytes, /, **fields: object) -> bytes:
    """A control message.

    Args:
        kind: of those above.
        fields: what it says.
    """
    return kind + (json.dumps(fields).encode() if fields else b"")


def ack(number: int) -> bytes:
    """The message that acknowledges all before a number."""
    return ACK + str(number).encode()


def framed(payload: Payload) -> Message:
    """An app's message as it goes over a connection."""
    if isinstance(payload, str):
        return {"type": "websocket.send", "text": payload}
    return {"type": "websocket.send", "bytes": DATA + payload}


def number(content: bytes) -> int:
    """The number in an acknowledgement.

    Raises:
        ProtocolViolation: it is none.
    """
    if not content.isdigit() or len(content) > 18:
        raise ProtocolViolation("an acknowledgement is no number")
    return int(content)


def fields(content: bytes) -> dict[str, Any]:
    """What a control message says.

    Raises:
        ProtocolViolation: it is no JSON object, or too long.
    """
    try:
        told = json.loads(content) if len(content) <= LONGEST else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise ProtocolViolation("a control message cannot be read")
    return told
