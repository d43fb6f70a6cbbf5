"""A launcher makes way for another, and what it keeps serves on: workers, nginx, sessions.

The next one finds all of it by its pid files, as after a `kill -9` (leftovers.py). What changes is that nobody need
kill anything, that the next one is tried before, and that it is the same process: a shell or systemd, whoever keeps
the launcher, sees no end of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from shiny_sticky import terminal
from shiny_sticky.concurrency import in_parallel
from shiny_sticky.errors import StickyError
from shiny_sticky.settings.model import Settings
from shiny_sticky.supervision.deploy import refuse_what_needs_a_stop
from shiny_sticky.supervision.site import Site

# What ends a program that has no handler for it yet, as the next launcher has none while it loads.
HELD_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}


async def prepare(site: Site, load: Callable[[], Settings]) -> None:
    """See that the next launcher would come up, with the settings, the apps and its own code as they are now.

    Args:
        site: what runs.
        load: reads the settings file.

    Raises:
        StickyError: it would not; why.
    """
    await _check_with_next()
    settings = load()
    refuse_what_needs_a_stop(site.settings, settings)
    try:
        releases = set(site.new_releases(settings).values())
        await in_parallel(release.prepare() for release in releases if not release.app.idle_timeout)
    finally:
        site.drop_unused_releases()


async def _check_with_next() -> None:
    """Let the launcher that is on disk by now check what this one was started with."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *sys.orig_argv[1:],
        "--check",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        text = said.decode(errors="replace").rstrip()
        raise StickyError(f"{text}\nA new launcher would not start for this reason; the running one goes on.")


def hold_signals() -> None:
    """Let signals wait for the next launcher, which they would end while it loads."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)


def take_held_signals() -> None:
    """Take the signals that have waited; they have handlers now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)


def become_next() -> NoReturn:
    """Run the launcher that is on disk by now in place of this one, with the same arguments."""
    if terminal.OUTLIVES:  # as this one was told at its start
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def end_alone() -> NoReturn:
    """End this process as it is: asyncio would kill the children that it has started."""
    os._exit(0)
