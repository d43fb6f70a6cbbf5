"""The end of a site: everything that runs is asked to finish, then told to, then killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any, Protocol

from shiny_sticky import terminal
from shiny_sticky.concurrency import in_parallel
from shiny_sticky.output import Output
from shiny_sticky.supervision.incarnation import MARGIN, STOP_SECONDS

# Seconds that open sessions get when somebody at a terminal stops what they have started there.
TERMINAL_SECONDS = 2


class StopRequest:
    """Whether everything is to end, and how soon. The first signal asks to finish, the second ends it at once.

    Args:
        output: where to say what was asked for.

    Attributes:
        made: set by the first signal.
        at_once: set by the second.
        drain_timeout: seconds that open sessions and requests get; None before the first.
    """

    def __init__(self, output: Output) -> None:
        self.made = asyncio.Event()
        self.at_once = asyncio.Event()
        self.drain_timeout: float | None = None
        self._output = output
        self._on_terminal = terminal.is_used()  # once that is closed, nothing tells

    def handle(self, number: signal.Signals, drain_timeout: float, sessions: int) -> None:
        """Take a signal.

        Args:
            number: the signal.
            drain_timeout: seconds that open sessions and requests get; from a terminal less.
            sessions: how many are open.
        """
        from_terminal = number in (signal.SIGINT, signal.SIGHUP) and self._on_terminal
        if self.made.is_set():
            name = "Ctrl-C" if from_terminal else number.name
            self._output.event(f"{name} again: ending everything at once")
            self.at_once.set()
            return
        self.drain_timeout = min(drain_timeout, TERMINAL_SECONDS) if from_terminal else drain_timeout
        seconds = f"{self.drain_timeout:g} s"
        if not from_terminal:
            self._output.event(
                f"{number.name}: stopping; open sessions and requests get {seconds}, a second signal ends them. "
                f"Sessions: {sessions}"
            )
        elif sessions:
            them = "1 session" if sessions == 1 else f"{sessions} sessions"
            self._output.event(f"Stopping; waiting {seconds} for {them}, Ctrl-C again ends them")
        else:
            self._output.event("Stopping")
        self.made.set()


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
