"""When a process has served for long enough, and another one is to take its place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from shiny_sticky import processes
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.settings.process_model import RecycleSettings
from shiny_sticky.supervision.incarnation import Incarnation

# Slots of an app that are filled again at a time after their sessions.
AT_A_TIME = 4


@dataclass
class RecycleTurn:
    """Whose turn it is to be recycled: one slot of an app at a time, and none for a while after a failure.

    Attributes:
        lock: held by the slot that is being recycled.
        not_before: on the event loop's clock, in seconds.
        renewals: held by those whose one session is over, a few at a time.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    not_before: float = 0.0
    renewals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))

    @property
    def resting(self) -> bool:
        """Whether it is too early after a failure."""
        return asyncio.get_running_loop().time() < self.not_before

    @property
    def free(self) -> bool:
        """Whether a slot may be recycled now."""
        return not self.lock.locked() and not self.resting


def is_over(app: AppSettings, process: Incarnation) -> bool:
    """Whether a process has had the one session that it was for; a connection that was cut is no end.

    Args:
        app: whose settings it was started with.
        process: one of its.
    """
    return app.isolated and process.sessions_served > 0 and not process.sessions


def why_recycle(limits: RecycleSettings, process: Incarnation) -> str:
    """Why a process should be replaced by now; empty if it should not."""
    if limits.sessions_served is not None and process.sessions_served >= limits.sessions_served:
        return f"it has served {process.sessions_served} sessions (recycle.sessions_served)"
    if limits.lifetime is not None and process.uptime >= limits.lifetime:
        return f"it has served for {process.uptime:.0f} s (recycle.lifetime)"
    if limits.max_memory is not None:
        memory = processes.memory(process.pid)
        if memory > limits.max_memory:
            return f"it has grown to {memory / (1 << 20):.0f} MB (recycle.max_memory)"
    return ""
