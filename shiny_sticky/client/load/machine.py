"""What the site, its workers and this machine do meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from shiny_sticky.errors import StickyError

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerLook:
    """A worker, at one time.

    Attributes:
        name: the worker.
        sessions: that are open in it.
        cpu: of one core, between this look and the last; 1 is all of it.
    """

    name: str
    sessions: int
    cpu: float


@dataclass(frozen=True)
class Look:
    """What was to be seen at one time.

    Attributes:
        at: when, by `time.monotonic`.
        busy: of the CPU time of this machine since the last look; 1 is all of it.
        workers: of the site; empty if its status is not known.
    """

    at: float
    busy: float
    workers: list[WorkerLook] = field(default_factory=list)


class Onlooker:
    """Looks at a site again and again.

    Args:
        status: gives the site's status, as `shiny-sticky status --json` has it; None if the site is not known here.
        on_look: takes each look.
    """

    def __init__(self, status: Callable[[], dict[str, Any]] | None, on_look: Callable[[Look], None]) -> None:
        self._status = status
        self._on_look = on_look
        self._cpu: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Go on until cancelled."""
        psutil.cpu_percent()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            workers = await asyncio.to_thread(self._workers)
            self._on_look(Look(time.monotonic(), psutil.cpu_percent() / 100, workers))

    def _workers(self) -> list[WorkerLook]:
        if self._status is None:
            return []
        try:
            found = self._status()
        except StickyError:  # it is being restarted, or has stopped; the next look may tell
            return []
        return [
            WorkerLook(
                worker["name"],
                sum(process["sessions"] for process in worker["incarnations"]),
                sum(self._cpu_of(process) for process in worker["incarnations"]),
            )
            for worker in found["workers"]
        ]

    def _cpu_of(self, process: dict[str, Any]) -> float:
        """What a process has had of a core since the last look; nothing at the first."""
        now = time.monotonic()
        at, cpu = self._cpu.get(process["name"], (now, process["cpu"]))
        self._cpu[process["name"]] = (now, process["cpu"])
        return float(max(0.0, (process["cpu"] - cpu) / (now - at))) if now > at else 0.0
