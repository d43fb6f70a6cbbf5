"""Waiting for what takes a moment, and what is asked meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from pathlib import Path

import psutil

# Seconds for what is waited for. It is there in an instant, but on a busy machine; promised times have their own.
PATIENCE = 60


# Ports that each of the processes that run tests has for itself: it may be a while until one is used.
FIRST_PORT = 10_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port() -> int:
    """A port below those that the system hands out to clients, so that none takes it before the test does."""
    while True:
        port = random.randrange(FIRST_PORT, 32_000, PROCESSES)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(condition, what: str, timeout: float = PATIENCE):
    """Ask again and again until something is true; give what it returned."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return result


def running(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(socket_file: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_file)) == 0
