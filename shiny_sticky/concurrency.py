"""Doing several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


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
