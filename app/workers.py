"""Who serves: this process, and all others that serve the same app.

What lives in one process is unknown to the others. So the processes share a folder, which the launcher names in
``STICKY_SHARED``; each keeps one empty file there, and the file's name says everything. Renaming it is one step,
so nobody ever reads half of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

# Seconds between two looks at the folder.
INTERVAL = 0.5


@dataclass(frozen=True, order=True)
class Process:
    """One process of the app.

    Attributes:
        worker: the slot that it fills, which is what the cookie names: ``app2``.
        incarnation: its own name: ``app2.k3f9``.
        pid: its process id.
        started: Unix time, in milliseconds.
        sessions: how many it has open.
    """

    worker: str
    incarnation: str
    pid: int
    started: int
    sessions: int = 0

    @property
    def runs(self) -> bool:
        """Whether there is such a process (still)."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def to_json(self) -> dict[str, str | int]:
        """What a page is told of it."""
        return asdict(self)

    def to_name(self) -> str:
        """A file's name that :meth:`from_name` reads."""
        return ":".join(map(str, astuple(self)))

    @classmethod
    def from_name(cls, name: str) -> Process:
        """The process that a file's name tells of."""
        worker, incarnation, *numbers = name.split(":")
        return cls(worker, incarnation, *map(int, numbers))


class Presence:
    """What the process that this runs in tells all others that serve the app, and what they tell it.

    Args:
        folder: the one that they share; None where there is no launcher, and so no other process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._told: Path | None = None
        self._me: Process | None = None

    @property
    def me(self) -> Process:
        """The process that this runs in. At import it may be another: the launcher forks workers off one import."""
        if self._me is None:
            self._me = Process(
                worker=os.environ.get("STICKY_WORKER", "app"),
                incarnation=os.environ.get("STICKY_INCARNATION", "-"),
                pid=os.getpid(),
                started=time.time_ns() // 1_000_000,
            )
        return self._me

    def tell(self, sessions: int = 0) -> None:
        """Let the other processes know that this one is there.

        Args:
            sessions: how many it has open.
        """
        self._me = replace(self.me, sessions=sessions)
        if self._folder is None:
            return
        file = self._folder / self._me.to_name()
        with contextlib.suppress(OSError):  # the disk is full: sessions go on, unseen by the others
            if self._told is None:
                file.touch()
            else:
                self._told.rename(file)
            self._told = file

    def session_began(self) -> None:
        """Count one session more."""
        self.tell(self.me.sessions + 1)

    def session_ended(self) -> None:
        """Count one session less."""
        self.tell(self.me.sessions - 1)

    def all(self) -> list[Process]:
        """All processes of the app, this one among them, by their names and the time of their start."""
        if self._folder is None:
            return [self.me]
        told = []
        with contextlib.suppress(OSError):  # the folder is gone
            told = [Process.from_name(file.name) for file in self._folder.iterdir()]
        for process in told:
            if not process.runs:  # it was killed, and could not take its file away itself
                (self._folder / process.to_name()).unlink(missing_ok=True)
        found = [process for process in told if process.runs]
        return sorted(found, key=lambda process: (len(process.worker), process.worker, process.started))

    async def changes(self) -> AsyncIterator[list[Process]]:
        """All processes of the app: those of now, and again whenever that changes."""
        told = None
        while True:
            if (found := self.all()) != told:
                yield found
                told = found
            await asyncio.sleep(INTERVAL)
