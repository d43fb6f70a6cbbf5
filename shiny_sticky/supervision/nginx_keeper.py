"""Keeps nginx running: started or taken over, and started again whenever it has ended."""

from __future__ import annotations

import asyncio
import time

from shiny_sticky import processes
from shiny_sticky.errors import StickyError
from shiny_sticky.front.nginx_process import Front
from shiny_sticky.output import Output


async def start_or_adopt(front: Front, output: Output) -> None:
    """Start nginx, or take over the one that an earlier launcher has left.

    Raises:
        StickyError: it does not start.
    """
    if front.adopt_running():
        await front.reload()
        output.event(f"nginx runs already (pid {front.pid}); it has read its configuration again")
    else:
        await front.start()


async def restart_on_exit(front: Front, output: Output) -> None:
    """Start nginx again whenever it has ended; does not return."""
    backoff = processes.Backoff()
    while True:
        began = time.monotonic()
        how = await front.ended()
        output.problem(f"nginx (pid {front.pid}) {how}")
        while True:
            delay = backoff.delay(time.monotonic() - began)
            if delay:
                output.event(f"nginx is started again in {delay:g} s")
                await asyncio.sleep(delay)
            try:
                await front.start()
                break
            except StickyError as failure:
                began = time.monotonic()
                output.problem(str(failure))
        output.event(f"nginx is back (pid {front.pid})")
