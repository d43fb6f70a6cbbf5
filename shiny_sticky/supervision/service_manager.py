"""What systemd, or who else speaks sd_notify(3), is told: when the site serves, and how it is doing.

A service manager has set NOTIFY_SOCKET, and hears the launcher alone (NotifyAccess=main). Without that nothing is
said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping

from shiny_sticky.supervision.incarnation import MARGIN, STOP_SECONDS
from shiny_sticky.supervision.site import Site

# Seconds between two reports: a message for each session that comes or goes would be more than anybody reads.
REPORT_SECONDS = 5.0

# Seconds that a report asks for while something takes its time: a launcher that hangs gets no more.
PATIENCE_SECONDS = 30.0


class ServiceManager:
    """The service manager that has started this launcher, if one has.

    Args:
        site: what is reported on.
        environment: of the launcher.
    """

    def __init__(self, site: Site, environment: Mapping[str, str] = os.environ) -> None:
        self._site = site
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._interval = REPORT_SECONDS
        self._watches = environment.get("WATCHDOG_PID", "") == str(os.getpid())
        if self._watches:
            self._interval = min(REPORT_SECONDS, int(environment["WATCHDOG_USEC"]) / 2e6)
        self._busy = "Starting"  # what takes its time; empty while everything serves
        self._note = ""
        self._told = ""

    async def keep_informed(self) -> None:
        """Report from time to time; does not return, unless there is nobody to report to."""
        while self._address:
            if self._busy:
                self._say(f"EXTEND_TIMEOUT_USEC={_microseconds(PATIENCE_SECONDS)}")
            if self._watches:
                self._say("WATCHDOG=1")
            self._tell_status()
            await asyncio.sleep(self._interval)

    def ready(self) -> None:
        """Everything serves."""
        self._busy = ""
        self._tell_status("READY=1", f"MAINPID={os.getpid()}")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell of a deploy: that it begins, and how it has ended."""
        self._busy = "Deploying"
        self._tell_status("RELOADING=1", f"MONOTONIC_USEC={_microseconds(time.monotonic())}")
        self._note = "; the last deploy has failed"
        try:
            yield
            self._note = ""
        finally:
            self.ready()

    def stopping(self) -> None:
        """The site stops, and takes as long as its settings allow."""
        self._busy = "Stopping"
        seconds = self._site.settings.stop.drain_timeout + STOP_SECONDS + MARGIN + PATIENCE_SECONDS
        self._tell_status("STOPPING=1", f"EXTEND_TIMEOUT_USEC={_microseconds(seconds)}")

    def _tell_status(self, *lines: str) -> None:
        """Send lines, with the status; the status alone only when it has changed."""
        text = summary(self._site) + self._note
        if self._busy:
            text = f"{self._busy}: {summary(self._site)}" if self._site.slots else self._busy
        if lines or text != self._told:
            self._say(*lines, f"STATUS={text}")
            self._told = text

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        # @ stands for the NUL of an abstract socket. Who does not listen, or not fast enough, holds nothing up.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), address)


def summary(site: Site) -> str:
    """A site in a line: ``4 of 4 workers, 12 sessions``."""
    serving = sum(slot.current is not None and slot.current.alive for slot in site.slots.values())
    sessions = sum(process.sessions for slot in site.all_slots for process in slot.alive)
    return f"{serving} of {len(site.slots)} workers, {sessions} session{'s' * (sessions != 1)}"


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)
