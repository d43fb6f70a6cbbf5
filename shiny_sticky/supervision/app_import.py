"""The import of an app, in a process that its workers are forked off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from shiny_sticky import processes
from shiny_sticky.concurrency import mark_retrieved
from shiny_sticky.output import Output
from shiny_sticky.processes import Process
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.fork_server import ForkServerProcess
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.shared_folders import shared_folder
from shiny_sticky.supervision.spawning import findings_file, spawn
from shiny_sticky.worker.options import WorkerOptions

# Seconds that a fork server gets to end when it must not fork, or has imported the app too slowly.
END_SECONDS = 4

# Imports to try: one finds out what to leave, the next leaves that. A third one, if the app does other things then.
IMPORTS = 3


class AppImport:
    """What an app's processes are forked off: a fork server, which is started when a process is first wanted.

    Should it be killed, it is started anew.

    Args:
        app_name: the app's.
        app: its settings.
        folder: the settings file's.
        run_dir: where pid files go, and what is remembered of the import.
        output: where to say what happens.

    Attributes:
        forks: whether processes are forked; else each is spawned.
        distrust: why nothing of the app is shared by forks; empty if it is.
    """

    def __init__(self, app_name: str, app: AppSettings, folder: Path, run_dir: RunDir, output: Output) -> None:
        # macOS has fork, but its frameworks do not survive it.
        self.forks = app.preload and sys.platform == "linux"
        self.distrust = ""
        self.app_name = app_name
        self._app = app
        self._folder = folder
        self._run_dir = run_dir
        self._output = output
        self._fork_server: ForkServerProcess | None = None
        self._importing: asyncio.Task[None] | None = None

    @property
    def fork_server(self) -> ForkServerProcess | None:
        """The running fork server; None if there is none."""
        server = self._fork_server
        return server if server is not None and server.alive else None

    @property
    def ended(self) -> bool:
        """Whether there is no fork server, nor is one being started."""
        return self.fork_server is None and (self._importing is None or self._importing.done())

    async def prepare(self) -> None:
        """Wait until there is a fork server, or it is known that there cannot be one.

        Raises:
            StartFailed: the app cannot be imported, or not in time (start_timeout).
            OSError: no file descriptor is left, or the disk is full.
        """
        if not self.forks or self.fork_server is not None:
            return
        if self._importing is None or self._importing.done():
            self._importing = asyncio.create_task(self._import(), name=f"import of {self.app_name}")
            self._importing.add_done_callback(mark_retrieved)
        await asyncio.shield(self._importing)

    async def try_import(self) -> None:
        """Import the app in a process that ends at once, whether workers would be forked off it or not.

        Raises:
            StartFailed: it cannot be imported, or not in time (start_timeout).
        """
        server = await self._start_fork_server()
        try:
            await server.imported(self._app.start_timeout)
        finally:
            server.drain()
            if not await server.wait(END_SECONDS):
                server.kill()
                await server.wait()

    async def fork(self, options: WorkerOptions, channels: Channels) -> Process:
        """Fork a process off the fork server, which there must be.

        Args:
            options: the process's.
            channels: to connect it with.

        Raises:
            StartFailed: that is not possible.
            ForkServerGone: the fork server has ended.
        """
        assert self._fork_server is not None
        return await self._fork_server.fork(options, channels, self._app.start_timeout)

    async def spawn(self, options: WorkerOptions, channels: Channels, environment: Mapping[str, str]) -> Process:
        """Start a process of the app; see :func:`.spawning.spawn`."""
        shared = {"STICKY_SHARED": str(shared_folder(self._run_dir, self.app_name))}
        return await spawn(
            options, channels, self._app, self._folder, self._run_dir.owner, {**shared, **environment}
        )

    def forget(self, distrust: str = "") -> None:
        """Let the fork server end, and the next process be forked off another one.

        Args:
            distrust: why that is to share nothing of the app; empty if it may.
        """
        self.distrust = distrust
        if self._fork_server is not None:
            self._fork_server.drain()
            self._fork_server = None

    def drain(self) -> None:
        """Import nothing more: the fork server ends with the last of its forks."""
        if self._importing is not None:
            self._importing.cancel()
        if self._fork_server is not None:
            self._fork_server.drain()

    def kill(self) -> None:
        """End the fork server at once; its forks live on."""
        if self._fork_server is not None:
            self._fork_server.kill()

    async def wait(self) -> None:
        """Wait for the end of the fork server."""
        if self._importing is not None:
            await asyncio.wait({self._importing})
        if self._fork_server is not None:
            await self._fork_server.wait()

    async def _import(self) -> None:
        """Start a fork server, and keep it if the app may be forked."""
        again = self._fork_server is not None
        findings = str(findings_file(self._run_dir, self.app_name))
        for _ in range(IMPORTS):
            server = await self._start_fork_server(findings)
            reason = await self._imported(server)
            if not reason:
                break
        else:
            self.forks = False
            self._output.event(
                f"App {self.app_name}: each worker imports it anew, because it {reason}. "
                "preload: false says so at once."
            )
            return
        self._fork_server = server
        if server.left:
            self._output.event(f"App {self.app_name}: each worker imports {server.left}")
        if again:
            self._output.event(f"App {self.app_name} is imported anew (pid {server.pid})")

    async def _imported(self, server: ForkServerProcess) -> str:
        """Wait for the import; a fork server that cannot be had, or must not fork, has ended then.

        Returns:
            Why it must not fork; empty if it may.

        Raises:
            StartFailed: the app cannot be imported, or not in time (start_timeout).
        """
        try:
            reason = await server.imported(self._app.start_timeout)
        except BaseException:
            server.kill()
            await server.wait()
            raise
        # It may hold a port or lock that the next one, or the workers, need.
        if reason and not await server.wait(END_SECONDS):
            server.kill()
            await server.wait()
        return reason

    async def _start_fork_server(self, findings: str = "") -> ForkServerProcess:
        """Start a process that imports the app.

        Args:
            findings: the file by which it knows what of that to leave to its forks; empty for none: it imports all.
        """
        name = self._run_dir.new_fork_server(self.app_name)
        with Channels.open(self._run_dir, name, listens=False) as channels:
            options = WorkerOptions(
                name,
                self._app.target,
                forks=True,
                findings=findings,
                distrust=self.distrust,
                isolated=self._app.isolated,
            )
            process = await self.spawn(options, channels, {})
            self._run_dir.note_pid(channels.descriptors.pid_file, process.pid)
            return ForkServerProcess(
                name, self.app_name, process, channels, self._run_dir, self._output, self._report_exit
            )

    def _report_exit(self, server: ForkServerProcess) -> None:
        how = processes.how_it_ended(server.exit_code)
        self._output.problem(
            f"App {self.app_name}: the process that forks its workers (pid {server.pid}) {how}; "
            "those that it has forked serve on"
        )
