"""The running nginx: started, taken over from an earlier launcher, told to reload, ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from shiny_sticky import processes
from shiny_sticky.errors import StickyError
from shiny_sticky.front import nginx_family
from shiny_sticky.front.nginx_program import Nginx
from shiny_sticky.handle import Handle

# nginx takes a few hundredths of a second to change over; no deploy waits longer than this for it.
RELOAD_SECONDS = 10


class Front:
    """The nginx that serves one configuration.

    Args:
        nginx: the program.
        conf: its configuration.
        run_dir: where its pid file and logs are.
        on_line: takes each line that it says before its log is open.
    """

    def __init__(self, nginx: Nginx, conf: Path, run_dir: Path, on_line: Callable[[str], None]) -> None:
        self._nginx = nginx
        self._conf = conf
        self._run_dir = run_dir
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._master: Handle | None = None

    @property
    def pid(self) -> int | None:
        """The master, as it was started or taken over last; None before."""
        return None if self._master is None else self._master.pid

    def adopt_running(self) -> bool:
        """Take over an nginx that runs from this run_dir already.

        Returns:
            Whether there is one.
        """
        with contextlib.suppress(ProcessLookupError):
            noted = Handle(self._noted_pid())
            if nginx_family.is_master(noted.pid, self._run_dir):
                self._master = noted
                return True
        return False

    def members(self) -> list[Handle]:
        """The master and its nginx workers, also when the master has died."""
        return nginx_family.members(self._run_dir, self.pid or self._noted_pid())

    async def start(self) -> None:
        """Start nginx, and wait until it listens.

        Raises:
            StickyError: with what nginx says, or why its program cannot be run.
        """
        await self._end_orphans()
        errors = self._run_dir / "nginx-error.log"
        try:
            said = await self._spawn(errors)
        except OSError as error:
            raise StickyError(f"nginx ({self._nginx.path}) cannot be started: {error.strerror}") from None
        if self._process is None or self._noted_pid() != self._process.pid:
            await self.ended()
            raise StickyError("nginx does not start:\n" + "\n".join(said or [f"see {errors}"]))
        for line in said:
            self._on_line(line)

    async def _spawn(self, errors: Path) -> list[str]:
        """Start the program, and wait until it listens or has ended.

        Args:
            errors: a file for what it says.

        Returns:
            The lines that it says before it has opened that.

        Raises:
            OSError: there is no such program, or no file descriptor or memory left.
        """
        command = [self._nginx.path, "-p", str(self._run_dir), "-e", str(errors), "-c", str(self._conf)]
        read, write = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                "-g",
                "daemon off;",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=write,
                start_new_session=True,
                umask=0o077,  # logs name sessions
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._master = Handle(self._process.pid)
        said: list[str] = []
        # Once it listens and has written its pid file, nginx points standard error at its log: the pipe closes.
        transport, lines = await processes.read_lines(read, said.append)
        await lines.closed
        transport.close()
        return said

    async def ended(self) -> str:
        """Wait for the master's end, and say how it came about."""
        if self._process is not None:
            return processes.how_it_ended(await self._process.wait())
        if self._master is not None:
            await self._master.wait()
        return "ended"

    async def reload(self) -> None:
        """Let nginx read its configuration again, and wait until new connections are served by it.

        Open connections go on with processes that take no new ones.
        """
        old = [member for member in self.members() if member.pid != self.pid]
        self._send(signal.SIGHUP)
        await _not_serving(old)

    def reopen_logs(self) -> None:
        """Let nginx open its logs anew, after they were renamed."""
        self._send(signal.SIGUSR1)

    async def wait(self) -> None:
        """Wait for the master's end, and for workers that earlier ones have left."""
        await self.ended()
        await asyncio.gather(*(member.wait() for member in self.members()))

    def drain(self) -> None:
        """Let nginx close its ports and finish what it is serving."""
        self._send(signal.SIGQUIT)

    def terminate(self) -> None:
        """Nothing to do: nginx ends when the workers have answered what it is serving."""

    def kill(self) -> None:
        """End nginx at once, with the workers of its own."""
        members = self.members()
        self._send(signal.SIGTERM)
        for member in members:
            member.send(signal.SIGKILL)

    def clean(self) -> None:
        """Remove the pid file that a killed nginx leaves, and the empty one of a check.

        As long as a killed master's workers serve, a later start knows them by it.
        """
        if not self.members():
            with contextlib.suppress(OSError):
                (self._run_dir / "nginx.pid").unlink()

    async def _end_orphans(self) -> None:
        """Let the workers of a killed master close their ports; what they serve they finish, if they can."""
        orphans = self.members()
        for orphan in orphans:
            orphan.send(signal.SIGQUIT)
        for orphan in await _not_serving(orphans):
            orphan.send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._master is not None:
            self._master.send(number)

    def _noted_pid(self) -> int:
        """The master's pid as nginx has noted it; 0 if it has not."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._run_dir / "nginx.pid").read_text())
        return 0


async def _not_serving(workers: list[Handle]) -> list[Handle]:
    """Wait until nginx workers that were told to finish have closed their ports.

    Returns:
        Those that have not in time.
    """
    deadline = time.monotonic() + RELOAD_SECONDS
    # Nothing tells when the last one has closed its ports but its title: "... is shutting down".
    while serving := [one for one in workers if not one.ended and nginx_family.is_serving(one.pid)]:
        if time.monotonic() >= deadline:
            break
        await asyncio.sleep(0.02)
    return serving


def check_ports(listen: list[str], ours: list[Handle]) -> None:
    """See to it that every address can be listened on.

    Args:
        listen: host:port each.
        ours: an nginx of this launcher's, which may have them already.

    Raises:
        StickyError: an address is taken, by whom if that can be known; or not this machine's, or not allowed.
    """
    for address in listen:
        host, _, port = address.rpartition(":")
        for found in socket.getaddrinfo(
            "0.0.0.0" if host == "*" else host.strip("[]"), int(port), type=socket.SOCK_STREAM
        ):
            family, kind, _, _, place = found
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                try:
                    probe.bind(place)
                    probe.listen()
                except PermissionError:
                    raise StickyError(
                        f"Port {port} may be opened by root only (listen: {address}). Choose one from 1024 on, "
                        "or start with sudo and set user."
                    ) from None
                except OSError as error:
                    if error.errno == errno.EADDRINUSE and any(_listens(one.pid, int(port)) for one in ours):
                        continue
                    raise StickyError(_why_not(address, error, _listeners(int(port)))) from None


def _listens(pid: int, port: int) -> bool:
    """Whether a process listens on a TCP port. nginx's master does as long as its workers, whom it replaces."""
    with contextlib.suppress(psutil.Error):
        return any(_is_open(found, port) for found in psutil.Process(pid).net_connections("tcp"))
    return False


def _is_open(found: Any, port: int) -> bool:
    """Whether one of psutil's connections is a socket that listens on a port."""
    return bool(found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port)


def _why_not(address: str, error: OSError, holders: list[int]) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{address} cannot be listened on: {error.strerror}."
    names = []
    for pid in holders:
        with contextlib.suppress(psutil.Error):
            holder = psutil.Process(pid)
            names.append(f"{holder.name()} (pid {pid}){_whose(holder)}")
    by = ", ".join(names) or "a process of another user (sudo ss -ltnp shows it)"
    return f"{address} is in use by {by}. Stop that, or choose another port: listen in the settings, or -p."


def _whose(holder: psutil.Process) -> str:
    """Which shiny-sticky an nginx belongs to, if it does: in its title, the master has what it was started with."""
    for process in (holder, holder.parent()):
        found = process and re.search(r"-p (\S+) -e \1/nginx-error\.log", " ".join(process.cmdline()))
        if found:
            return f", of the shiny-sticky that runs in {found[1]}"
    return ""


def _listeners(port: int) -> list[int]:
    """The pids that listen on a TCP port, as far as they can be seen."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:  # macOS shows them to root only
        return []
    return sorted({found.pid for found in connections if found.pid and _is_open(found, port)})
