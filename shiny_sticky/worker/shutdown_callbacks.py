"""What an app asks at its import to be done at its shutdown: the fork server does it, once, and no fork does."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, suppress

from . import shiny_apps
from .loading import readable_traceback

# Held until Python itself ends: a callback may be the last to refer to a folder, which goes when it is forgotten.
_taken: list[AsyncExitStack] = []


def take() -> None:
    """Take the callbacks of ``App.on_shutdown`` from the apps; call it between the import and the first fork.

    An app's lifespan runs in each worker, and runs what is registered there from now on.
    """
    shiny_apps.collect()
    for app in shiny_apps.imported():
        with suppress(AttributeError):  # a Shiny without it
            _taken.append(app._exit_stack.pop_all())


def run() -> None:
    """Run the callbacks that were taken, as the apps' lifespans would have done, and say which failed."""
    if _taken:
        asyncio.run(_run())


async def _run() -> None:
    for stack in _taken:
        try:
            await stack.aclose()
        except Exception as error:
            print(f"The app's shutdown failed.\n{readable_traceback(error)}", end="", file=sys.stderr)
