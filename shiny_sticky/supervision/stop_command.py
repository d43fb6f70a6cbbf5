"""Stopping a running site from outside: its launcher is asked to, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from shiny_sticky.handle import Handle
from shiny_sticky.output import Output
from shiny_sticky.supervision import control


async def stop(run_dir: Path, output: Output) -> None:
    """Stop a site, and wait until all of it has ended.

    Args:
        run_dir: the site's.
        output: where to say how it goes.

    Raises:
        StickyError: no launcher runs there.
    """
    status = await asyncio.to_thread(control.call, run_dir, "GET", "/status")
    pid = status["launcher"]["pid"]
    sessions = sum(one["sessions"] for worker in status["workers"] for one in worker["incarnations"])
    with (
        output.progress(f"Stopping the launcher (pid {pid}); {sessions} open sessions get their time"),
        contextlib.suppress(ProcessLookupError),  # it has just ended
    ):
        launcher = Handle(pid)
        launcher.send(signal.SIGTERM)
        await launcher.wait()
    output.event("Stopped")
