"""The end of a site: everything that runs is asked to finish, then told to, then killed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from shiny_sticky.concurrency import in_parallel
from shiny_sticky.supervision.incarnation import MARGIN, STOP_SECONDS


class Stoppable(Protocol):
    """A worker process, a release's fork server, a process of an earlier launcher, nginx."""

    def drain(self) -> None:
        """Ask it to finish what is open."""

    def terminate(self) -> None:
        """Ask it to close what is open."""

    def kill(self) -> None:
        """End it at once."""

    async def wait(self) -> Any:
        """Wait for its end."""


async def stop_all(running: Sequence[Stoppable], drain_timeout: float, at_once: asyncio.Event) -> None:
    """Stop everything.

    Args:
        running: what is to end.
        drain_timeout: seconds that open sessions and requests get.
        at_once: set when nobody is to wait for anything any more.
    """
    all_ended = asyncio.create_task(in_parallel(one.wait() for one in running))
    hurry = asyncio.create_task(at_once.wait())
    steps = (("drain", drain_timeout), ("terminate", STOP_SECONDS + MARGIN))
    for ask, seconds in steps:
        for one in running:
            getattr(one, ask)()
        await asyncio.wait({all_ended, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    for one in running:
        one.kill()
    await all_ended
