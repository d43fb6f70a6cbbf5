"""What a session's messages cost, by how they are sent."""

from __future__ import annotations

import os

from capacity import LIGHT, SMOKE_HOLD, Crowd, Watch
from hosts import Host, Ours, Uvicorn
from measure import tree
from scenarios import Bench, Figures, Outcome

# In one process, so that each has the others' flushes.
USERS, SMOKE_USERS = 60, 6
THINK = 1
HOLD = 6

WAYS: dict[str, Host] = {
    "uvicorn": Uvicorn(),
    "uvicorn-uncompressed": Uvicorn("--ws-per-message-deflate", "false"),
    "uvicorn-websockets": Uvicorn("--ws", "websockets"),
    "uvicorn-wsproto": Uvicorn("--ws", "wsproto"),
    "ours": Ours(workers=1),
    "ours-empty": Ours(workers=1, empty_flushes=True),
    "ours-all-compressed": Ours(workers=1, compress_messages=0),
    "ours-uncompressed": Ours(workers=1, compress_messages=None),
}


def wire(bench: Bench) -> Outcome:
    """Sixty sessions of one process, with each of the ways to send messages."""
    outcome = Outcome()
    ways = dict(list(WAYS.items())[::4]) if bench.smoke else WAYS
    for row, host in ways.items():
        outcome.titles[row] = host.title
    bench.alternate(outcome, {row: lambda host=host: _figures(bench, host) for row, host in ways.items()}, most=5)
    return outcome


def _figures(bench: Bench, host: Host) -> Figures:
    """Start somebody who hosts the app, and watch the users.

    Raises:
        RuntimeError: something failed.
    """
    others = set(tree(os.getpid()))
    with host.serving(LIGHT.file) as address, Crowd(address) as crowd:
        watch = Watch(crowd, others, SMOKE_HOLD if bench.smoke else HOLD)
        figures, failures = watch.step(SMOKE_USERS if bench.smoke else USERS, THINK)
    if failures:
        raise RuntimeError(failures[0])
    return figures | {"kb_session": 1000 * figures["mb_user"]}
