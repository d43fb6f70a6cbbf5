"""The running nginx: started, taken over from an earlier launcher, told to reload, ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from shiny_sticky import processes
from shiny_sticky.errors import StickyError
from shiny_sticky.front.nginx_program import Nginx

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
        self.pid: int | None = None

    def adopt_running(self) -> bool:
        """Take over an nginx that runs from this run_dir already.

        Returns:
            Whether there is one.
        """
        pid = self._noted_pid()
        if pid is None or not _is_nginx(pid, "master process"):
            return False
        self.pid = pid
        return True

    def members(self) -> set[int]:
        """The pids of the master and its nginx workers, also when the master has died."""
        group = self.pid or self._noted_pid()
        if group is None:
            return set()
        return {pid for pid in psutil.pids() if _group_of(pid) == group and _is_nginx(pid)}

    async def start(self) -> None:
        """Start nginx, and wait until it listens.

        Raises:
            StickyError: with what nginx says, or why its program cannot be run.
        """
        self._end_orphans()
        errors = self._run_dir / "nginx-error.log"
        try:
            said = await self._spawn(errors)
        except OSError as error:
            raise StickyError(f"nginx ({self._nginx.path}) cannot be started: {error.strerror}") from None
        if self._noted_pid() != self.pid:
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
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self.pid = self._process.pid
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
        if self.pid is not None:
            await processes.gone(self.pid)
        return "ended"

    async def reload(self) -> None:
        """Let nginx read its configuration again, and wait until new connections are served by it.

        Open connections go on with processes that take no new ones.
        """
        old = {pid for pid in self.members() if pid != self.pid}
        self._send(signal.SIGHUP)
        deadline = time.monotonic() + RELOAD_SECONDS
        # Nothing tells when the last old process has closed its ports but its title: "... is shutting down".
        while any(map(_is_serving, old)) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def reopen_logs(self) -> None:
        """Let nginx open its logs anew, after they were renamed."""
        self._send(signal.SIGUSR1)

    async def wait(self) -> None:
        """Wait for the master's end."""
        await self.ended()

    def drain(self) -> None:
        """Let nginx close its ports and finish what it is serving."""
        self._send(signal.SIGQUIT)

    def terminate(self) -> None:
        """Nothing to do: nginx ends when the workers have answered what it is serving."""

    def kill(self) -> None:
        """End nginx at once, with the workers of its own."""
        members = self.members()
        self._send(signal.SIGTERM)
        for pid in members:
            processes.send(pid, signal.SIGKILL)

    def clean(self) -> None:
        """Remove the pid file that a killed nginx leaves, and the empty one of a check."""
        if not self.adopt_running():
            (self._run_dir / "nginx.pid").unlink(missing_ok=True)

    def _end_orphans(self) -> None:
        """Let the workers of a killed master close their ports; what they serve they finish."""
        for pid in self.members():
            processes.send(pid, signal.SIGQUIT)

    def _send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            processes.send(self.pid, number)

    def _noted_pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int((self._run_dir / "nginx.pid").read_text())
        return None


def _is_nginx(pid: int, role: str = "") -> bool:
    """Whether a process is nginx's, and has a role by its title."""
    try:
        title = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return "nginx" in title and role in title


def _is_serving(pid: int) -> bool:
    """Whether a process of nginx's takes new connections."""
    return _is_nginx(pid, "worker process") and not _is_nginx(pid, "shutting down")


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def check_ports(listen: list[str], ours: set[int]) -> None:
    """See to it that every address can be listened on.

    Args:
        listen: host:port each.
        ours: pids of an nginx of this launcher's, which may have them already.

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
                    holders = _listeners(int(port))
                    if error.errno == errno.EADDRINUSE and ours & set(holders):
                        continue
                    raise StickyError(_why_not(address, error, holders)) from None


def _why_not(address: str, error: OSError, holders: list[int]) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{address} cannot be listened on: {error.strerror}."
    names = []
    for pid in holders:
        with contextlib.suppress(psutil.Error):
            names.append(f"{psutil.Process(pid).name()} (pid {pid})")
    by = ", ".join(names) or "a process of another user (sudo ss -ltnp shows it)"
    return f"{address} is in use by {by}. Stop that, or set listen to another port."


def _listeners(port: int) -> list[int]:
    """The pids that listen on a TCP port, as far as they can be seen."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:  # macOS shows them to root only
        return []
    return sorted(
        {
            found.pid
            for found in connections
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid
        }
    )
