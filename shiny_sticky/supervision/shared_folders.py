"""For each app a folder that all of its processes share, old and new (``STICKY_SHARED``)."""

from __future__ import annotations

import contextlib
from pathlib import Path

from shiny_sticky.foreign_folders import empty, make
from shiny_sticky.supervision.rundir import RunDir

# How deep folders of the app's are emptied. What is deeper stays.
LEVELS = 8


def shared_folder(run_dir: RunDir, app: str) -> Path:
    """Make the folder of an app, unless it is there.

    Args:
        run_dir: prepared.
        app: its name.

    Returns:
        The folder; nobody but the user of the workers comes to it.

    Raises:
        OSError: the disk is full.
    """
    return make(make(_all(run_dir), 0o711) / app, 0o700, run_dir.theirs)


def empty_shared_folders(run_dir: RunDir) -> None:
    """Remove what apps have left in their folders, once no process of theirs is there; no link is followed."""
    for folder in _all(run_dir).glob("*"):
        with contextlib.suppress(OSError):  # the app has closed it to others
            empty(folder, LEVELS)


def _all(run_dir: RunDir) -> Path:
    return run_dir.path / "shared"
