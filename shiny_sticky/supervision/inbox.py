"""What a launcher tells a worker that an earlier one has left running.

The socket between a worker and its launcher ends with the launcher. A later one writes what it would have sent,
line by line, into a file beside the worker's pid file, and the worker reads on there every second
(worker/inbox.py).

It is a file, and no socket that workers connect to anew, because a file asks for no trust. Nothing that a worker
says is listened to, so none need prove which one it is; and nothing of the app's is followed or opened, for
run_dir is the launcher's alone. Where workers run as another user, that user's group may read the file, and nobody
but the launcher may change it or put another in its place. What it says is shown to all visitors anyhow.
"""

from __future__ import annotations

import os
from pathlib import Path

from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.protocol import encode

# Makes the file, and opens nothing else that stands in its place.
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def inbox_of(run_dir: RunDir, incarnation: str) -> Path:
    """The file from which a worker takes what later launchers tell it; it is there once there is something."""
    return run_dir.path / f"{incarnation}.inbox"


def leave_message(run_dir: RunDir, incarnation: str, message: object) -> None:
    """Tell a worker something that has no launcher of its own any more.

    Args:
        run_dir: where its files are.
        incarnation: its name.
        message: of worker/protocol.py.

    Raises:
        OSError: the disk is full, or something else stands in the file's place.
    """
    descriptor = os.open(inbox_of(run_dir, incarnation), APPEND, 0o600)
    try:
        if run_dir.owner.switches:
            os.fchown(descriptor, -1, run_dir.owner.gid)
            os.fchmod(descriptor, 0o640)
        os.write(descriptor, encode(message))
    finally:
        os.close(descriptor)
