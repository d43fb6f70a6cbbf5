"""Programs that the benchmarks start: each in a folder of its own, and ended by its own pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Missing(Exception):
    """Something cannot be had on this machine; the text says what."""


class Program:
    """A running program, as a context manager. Its output goes to a file.

    Args:
        command: what to run.
        log: the file.
        cwd: where to run it.
        env: variables besides those of this process.
    """

    def __init__(self, command: list[str], log: Path, cwd: Path | None = None, env: dict[str, str] | None = None):
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # so that what it leaves behind can be ended with it
            )
        self.pid = self._process.pid

    def ready(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Wait until it serves.

        Raises:
            Missing: it ended, or took too long; the text has its last words.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self.log.read_text(errors="replace").strip()[-600:]
                raise Missing(f"{self._process.args[0]} does not start: {words}")
            time.sleep(0.02)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and whatever it started."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path (those of unix sockets are limited), gone at the end."""
    place = Path(tempfile.mkdtemp(prefix="sb-", dir="/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def port_answers(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def socket_answers(file: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(file)) == 0
