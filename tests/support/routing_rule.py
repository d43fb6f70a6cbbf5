"""The routing rule, written once more, in Python: what tests hold nginx's map and njs to."""

from __future__ import annotations

from collections.abc import Iterable


def rule(cookie: bytes, workers: Iterable[str], name: bytes = b"sticky") -> tuple[str | None, bool]:
    """The worker that a Cookie header leads to (None is the pool), and whether the response sets a cookie.

    Args:
        cookie: the header's value.
        workers: the names in the table.
        name: of the cookie that leads.
    """
    pairs = [pair.strip(b" \t") for pair in cookie.split(b";")]
    values = [pair[len(name) + 1 :] for pair in pairs if pair.startswith(name + b"=")]
    known = {worker.encode() for worker in workers}
    valid = [value.decode() for value in values if value in known]
    if not valid:
        return None, True
    return valid[0], values[0].decode("latin-1") != valid[0]
