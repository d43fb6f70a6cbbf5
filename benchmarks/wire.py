"""What a session's messages cost, by how they are sent."""

from __future__ import annotations

import os

from capacity import LIGHT, SMOKE_HOLD, App, Crowd, Watch
from hosts import Host, Ours, Uvicorn
from measure import tree
from scenarios import Bench, Figures, Outcome

# In one process, so that each has the others' flushes.
USERS, SMOKE_USERS = 60, 6
THINK = 1
HOLD = 6

# Bits a millisecond of a link for which it is said how long it takes to bring an update.
LINK = 20_000

LARGE = App("large", "30 KB app", ())

WAYS: dict[str, tuple[App, Host]] = {
    "uvicorn": (LIGHT, Uvicorn()),
    "uvicorn-uncompressed": (LIGHT, Uvicorn("--ws-per-message-deflate", "false")),
    "uvicorn-websockets": (LIGHT, Uvicorn("--ws", "websockets")),
    "uvicorn-wsproto": (LIGHT, Uvicorn("--ws", "wsproto")),
    "ours": (LIGHT, Ours(workers=1)),
    "ours-empty": (LIGHT, Ours(workers=1, empty_flushes=True)),
    "ours-all-compressed": (LIGHT, Ours(workers=1, compress_messages=0)),
    "ours-uncompressed": (LIGHT, Ours(workers=1, compress_messages=None)),
    "large-uvicorn": (LARGE, Uvicorn()),
    "large-ours": (LARGE, Ours(workers=1)),
    "large-uncompressed": (LARGE, Ours(workers=1, compress_messages=None)),
}
SMOKE_WAYS = ("ours", "large-uncompressed")


def wire(bench: Bench) -> Outcome:
    """Sixty sessions of one process, with each of the ways to send messages."""
    outcome = Outcome()
    once = {}
    for row, (app, host) in WAYS.items():
        if not bench.smoke or row in SMOKE_WAYS:
            outcome.titles[row] = f"{host.title}, {app.title}"
            once[row] = lambda app=app, host=host: _figures(bench, app, host)
    bench.alternate(outcome, once, most=5)
    return outcome


def _figures(bench: Bench, app: App, host: Host) -> Figures:
    """Start somebody who hosts an app, and watch the users.

    Raises:
        RuntimeError: something failed.
    """
    others = set(tree(os.getpid()))
    with host.serving(app.file) as address, Crowd(address) as crowd:
        watch = Watch(crowd, others, SMOKE_HOLD if bench.smoke else HOLD)
        figures, failures = watch.step(SMOKE_USERS if bench.smoke else USERS, THINK)
    if failures:
        raise RuntimeError(failures[0])
    link = 8 * figures["bytes_update"] / LINK
    return figures | {"kb_session": 1000 * figures["mb_user"], "link_ms": link}
