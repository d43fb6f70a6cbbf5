"""The grammar of names: of apps, of workers, of their processes, and of what those are forked off.

==================== ===========================================================================
``app``              an app, as the settings file names it
``app2``             a worker: a slot that one process after another fills
``app2.k3f9``        an incarnation: one of these processes
``app-k3f9``         a fork server: a process that has imported an app and forks its workers
``app.3``            a seat: a place at which new visitors come to a worker
==================== ===========================================================================
"""

from __future__ import annotations

import re
import secrets

APP_PATTERN = "[a-z][a-z0-9_]*"

# What tells one process from the next: letters and digits behind the dot or hyphen.
TAG_DIGITS = 4
TAG_PATTERN = f"[a-z0-9]{{{TAG_DIGITS}}}"
_TAG_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

WORKER = re.compile(rf"{APP_PATTERN}[0-9]")
INCARNATION = re.compile(rf"{WORKER.pattern}\.{TAG_PATTERN}")
FORK_SERVER = re.compile(rf"{APP_PATTERN}-{TAG_PATTERN}")


def worker_names(app: str, workers: int) -> list[str]:
    """The names of an app's workers: app1, app2, ..."""
    return [f"{app}{number}" for number in range(1, workers + 1)]


def seat_names(app: str, seats: int) -> list[str]:
    """The names of an app's seats: app.1, app.2, ..."""
    return [f"{app}.{number}" for number in range(1, seats + 1)]


def worker_of(incarnation: str) -> str:
    """The worker whose process an incarnation is: app2 for app2.k3f9."""
    return incarnation.partition(".")[0]


def is_worker_of(worker: str, app: str) -> bool:
    """Whether a worker is one of an app's, however many these are."""
    return re.fullmatch(rf"{re.escape(app)}[0-9]+", worker) is not None


def new_incarnation(worker: str) -> str:
    """A name for a new process of a worker, drawn at random: app2.k3f9."""
    return f"{worker}.{_new_tag()}"


def new_fork_server(app: str) -> str:
    """A name for a new fork server of an app, drawn at random: app-k3f9."""
    return f"{app}-{_new_tag()}"


def _new_tag() -> str:
    return "".join(secrets.choice(_TAG_CHARACTERS) for _ in range(TAG_DIGITS))
