"""Tokens: words of the launcher's that a visitor brings back, to it or to a worker, and that nobody else can make.

The launcher imports this file as well, so it needs Python 3.9's standard library alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re

TICKET = "t"
"""The place of somebody who waits: when they came, a name drawn at random, and when they were to ask again."""

ADMISSION = "a"
"""The right to be served one page: until when, and a name drawn at random."""

# Characters of a token. What is longer is none.
LONGEST = 160

# Hexadecimal digits of a signature: 128 bits.
SIGNATURE = 32

FORM = re.compile(rf"([a-z]+(?:\.[0-9a-z]+)+)\.([0-9a-f]{{{SIGNATURE}}})", re.ASCII)


def key_of(app: str, key: bytes) -> bytes:
    """The key of one app, from which nobody can tell the key that it is made of, or another app's.

    Args:
        app: its name.
        key: that of all apps.
    """
    return hmac.new(key, f"app {app}".encode(), hashlib.sha256).digest()


def make(key: bytes, kind: str, *fields: str) -> str:
    """A token.

    Args:
        key: the app's.
        kind: what it is good for: one of those above.
        fields: what it says, in small letters and digits.
    """
    text = ".".join((kind, *fields))
    return f"{text}.{_signature(key, text)}"


def read(key: bytes, kind: str, token: str) -> list[str]:
    """What a token says.

    Args:
        key: the app's.
        kind: what it must be good for.
        token: whatever a visitor has sent.

    Returns:
        The fields; none if it is no token of the kind, or somebody else has made it.
    """
    found = FORM.fullmatch(token) if len(token) <= LONGEST else None
    if found is None or not hmac.compare_digest(found[2], _signature(key, found[1])):
        return []
    its_kind, *fields = found[1].split(".")
    return fields if its_kind == kind else []


def _signature(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:SIGNATURE]
