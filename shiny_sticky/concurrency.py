"""Doing several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

# A timer that runs later than this, in seconds, tells that this process itself was stopped, or got no turn.
LATE_SECONDS = 0.2

# Seconds that others get to be heard then: a worker gives a sign of life every second.
HEARING_SECONDS = 3.0


async def comes_in_time(wait: Callable[[], Awaitable[Any]], timeout: float | None) -> bool:
    """Wait for something that another process says, but no longer than some seconds.

    A process that was stopped and goes on runs its timers before it reads what waits to be read. Its own absence is
    nobody else's silence, so it then listens for a moment before it judges.

    Args:
        wait: begins to wait; begun again if need be.
        timeout: seconds; None is for ever.

    Returns:
        Whether it came.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = None if timeout is None else loop.time() + timeout
        try:
            async with asyncio.timeout_at(due):
                await wait()
            return True
        except TimeoutError:
            if due is not None and loop.time() - due < LATE_SECONDS:
                return False
        timeout = HEARING_SECONDS


async def in_parallel(coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run coroutines side by side to their ends.

    Raises:
        Exception: the first that one of them raises; the others are cancelled.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def mark_retrieved(done: asyncio.Future[Any]) -> None:
    """Keep asyncio from complaining if nobody asks how a future or task has failed; a done callback."""
    if not done.cancelled():
        done.exception()
