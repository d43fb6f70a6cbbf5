"""One app as one deploy read it, and how its processes come to be: forked off a fork server, or each spawned."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from shiny_sticky import processes
from shiny_sticky.concurrency import mark_retrieved
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.processes import Process
from shiny_sticky.settings import names
from shiny_sticky.settings.model import AppSettings, Settings
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.fork_server import ForkServerGone, ForkServerProcess
from shiny_sticky.supervision.incarnation import STOP_SECONDS, Incarnation
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.spawning import spawn
from shiny_sticky.worker.options import CacheOptions, DependencyOptions, WorkerOptions

# Seconds that a fork server gets to end when it must not fork, or has imported the app too slowly.
END_SECONDS = 4

# The file in which it remembers what it leaves to its forks.
FINDINGS = "findings.json"

# Why forks share nothing of an app whose first fork did not answer.
DISTRUST = "did not work in a process forked off its import"

# Imports to try: one finds out what to leave, the next leaves that. A third one, if the app does other things then.
IMPORTS = 3


class Release:
    """What one deploy read of an app. Everything that it says stays as it is; the next deploy makes another.

    A fork server is started when a process is first wanted, and anew should it be killed.

    Args:
        app_name: the app's.
        settings: all settings.
        folder: the settings file's; module:attribute targets are looked up there.
        run_dir: where sockets and pid files go.
        output: where to say what happens.
    """

    def __init__(self, app_name: str, settings: Settings, folder: Path, run_dir: RunDir, output: Output) -> None:
        self.app_name = app_name
        self.app: AppSettings = settings.apps[app_name]
        self.is_shiny = True  # until one of its processes says that it is not
        self._drain_timeout = settings.deploy.drain_timeout
        self._cache = cache_options(settings, app_name, run_dir)
        # macOS has fork, but its frameworks do not survive it.
        self._forks = self.app.preload and sys.platform == "linux"
        self._folder = folder
        self._run_dir = run_dir
        self._output = output
        self._fork_server: ForkServerProcess | None = None
        self._importing: asyncio.Task[None] | None = None
        self._spare: Incarnation | None = None  # started before it is wanted
        self._distrust = ""  # why nothing of the app is shared by forks; empty if it is
        self._proving = asyncio.Lock()  # held until the first fork of a fork server answers
        # Held while a process starts, so that the launcher never has the descriptors of two starts open.
        self._start_lock = asyncio.Lock()

    @property
    def fork_server(self) -> ForkServerProcess | None:
        """The running fork server; None if there is none."""
        server = self._fork_server
        return server if server is not None and server.alive else None

    @property
    def ended(self) -> bool:
        """Whether there is no fork server, nor is one being started."""
        return self.fork_server is None and (self._importing is None or self._importing.done())

    async def prepare(self, worker: str = "") -> None:
        """Wait until processes can be had: the app is imported, if they are to be forked.

        Args:
            worker: one that is to be started then. If forks import a part of the app, its process is started now,
                to see whether they can.

        Raises:
            StartFailed: it cannot be imported, or not in time (start_timeout); the app is named.
        """
        try:
            await self._prepare()
        except StartFailed as failure:
            raise failure.of(self.app_name) from None
        except OSError as error:  # no file descriptor left
            raise StartFailed(f"App {self.app_name}: cannot be imported: {error}") from None
        if worker and self.fork_server is not None and self.fork_server.left:
            self._spare = await self.start(worker)

    async def try_import(self) -> None:
        """Import the app in a process that ends at once, whether workers would be forked off it or not.

        Raises:
            StartFailed: it cannot be imported, or not in time (start_timeout); the app is named.
        """
        try:
            server = await self._start_fork_server()
            try:
                await server.imported(self.app.start_timeout)
            finally:
                server.drain()
                if not await server.wait(END_SECONDS):
                    server.kill()
                    await server.wait()
        except StartFailed as failure:
            raise failure.of(self.app_name) from None

    async def start(self, worker: str) -> Incarnation:
        """Start a process for a worker, and wait until it answers.

        Args:
            worker: such as ``app2``.

        Raises:
            StartFailed: it did not come up, and is not running; the app is named.
        """
        spare = self._spare
        if spare is not None and spare.worker == worker:
            self._spare = None
            if spare.alive:
                return spare
        async with self._proving:
            await self.prepare()
            if self.fork_server is not None and not self.fork_server.proven:
                return await self._start_first(worker)
        return await self._start(worker)

    async def _start_first(self, worker: str) -> Incarnation:
        """Start the first process that is forked off an import, before any other is.

        Some libraries let themselves be forked, and then do not work: if it does not answer, one is tried that
        shares nothing of the app, and if that answers, all others are like it.

        Raises:
            StartFailed: neither did come up.
        """
        try:
            incarnation = await self._start(worker)
        except StartFailed as failure:
            # The app's own code says what is wrong, or what failed was not the fork.
            if failure.traceback or self._distrust or self.fork_server is None:
                raise
            self._output.problem(f"{failure} Perhaps because it was forked: another one imports all of it itself.")
            self._forget_fork_server(DISTRUST)
            try:
                incarnation = await self._start(worker)
            except StartFailed:
                self._forget_fork_server()
                raise
        if self.fork_server is not None:
            self.fork_server.prove()
        return incarnation

    def _forget_fork_server(self, distrust: str = "") -> None:
        """Let the fork server end, and the next process be forked off another one.

        Args:
            distrust: why that is to share nothing of the app; empty if it may.
        """
        self._distrust = distrust
        if self._fork_server is not None:
            self._fork_server.drain()
            self._fork_server = None

    async def _start(self, worker: str) -> Incarnation:
        """Start a process for a worker, and wait until it answers; raises what :meth:`start` does."""
        incarnation = None
        try:
            incarnation = await self._begin(worker)
            await incarnation.wait_ready(self.app.start_timeout)
            self.is_shiny = incarnation.serves_shiny
        except BaseException as failure:
            if incarnation is not None:
                incarnation.kill()
                await incarnation.wait()
            if isinstance(failure, OSError):  # disk full, no file descriptor left
                raise StartFailed(f"App {self.app_name}: {worker} cannot be started: {failure}") from None
            if isinstance(failure, StartFailed):
                raise failure.of(self.app_name) from None
            raise
        return incarnation

    def drain(self) -> None:
        """Start nothing more: the fork server ends with the last of its forks."""
        if self._importing is not None:
            self._importing.cancel()
        if self._spare is not None:
            self._spare.kill()
        if self._fork_server is not None:
            self._fork_server.drain()

    def terminate(self) -> None:
        """Nothing to do: the fork server ends when its forks do."""

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

    async def _prepare(self) -> None:
        if not self._forks or self.fork_server is not None:
            return
        if self._importing is None or self._importing.done():
            self._importing = asyncio.create_task(self._import(), name=f"import of {self.app_name}")
            self._importing.add_done_callback(mark_retrieved)
        await asyncio.shield(self._importing)

    async def _import(self) -> None:
        """Start a fork server, and keep it if the app may be forked."""
        again = self._fork_server is not None
        findings = str(self._run_dir.make_imports_folder(self.app_name) / FINDINGS)
        for _ in range(IMPORTS):
            server = await self._start_fork_server(findings)
            reason = await self._imported(server)
            if not reason:
                break
        else:
            self._forks = False
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
            reason = await server.imported(self.app.start_timeout)
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
            options = WorkerOptions(name, self.app.target, forks=True, findings=findings, distrust=self._distrust)
            process = await self._spawn(options, channels, {})
            self._run_dir.note_pid(channels.descriptors.pid_file, process.pid)
            return ForkServerProcess(
                name, self.app_name, process, channels, self._run_dir, self._output, self._report_exit
            )

    async def _begin(self, worker: str) -> Incarnation:
        """Start a process for a worker; it does not answer yet."""
        async with self._start_lock:
            for _ in range(2):
                await self._prepare()
                try:
                    return await self._begin_once(worker)
                except ForkServerGone:
                    assert self._fork_server is not None
                    await self._fork_server.wait()
        raise StartFailed("the process that has imported the app ends whenever it is to be forked.")

    async def _begin_once(self, worker: str) -> Incarnation:
        """Start a process, with a name and files of its own: an earlier one may have been forked, and not told of.

        Raises:
            ForkServerGone: the process that it was to be forked off has ended.
        """
        name = self._run_dir.new_incarnation(worker)
        notes = self._run_dir.make_notes_folder(self.app_name)
        nginx_cache = self._run_dir.cache if self._cache is not None else ""
        with Channels.open(self._run_dir, name, listens=True) as channels:
            options = WorkerOptions(
                name=name,
                target=self.app.target,
                path=self.app.path,
                stop_timeout=STOP_SECONDS,
                drain_timeout=self._drain_timeout,
                max_sessions=self.app.max_sessions or 0,
                cache=self._cache,
                link=str(self._run_dir.link_of(worker)),
                dependencies=DependencyOptions(str(notes), str(nginx_cache)),
            )
            process = await self._fork_or_spawn(options, channels)
            if problem := self._run_dir.note_pid(channels.descriptors.pid_file, process.pid):
                self._output.relay(
                    worker, f"its pid file cannot be written: {problem} ({self._run_dir.path})", True
                )
            return Incarnation(name, process, channels, self._drain_timeout, self._run_dir, self._output)

    async def _fork_or_spawn(self, options: WorkerOptions, channels: Channels) -> Process:
        if self._forks:
            assert self._fork_server is not None
            return await self._fork_server.fork(options, channels, self.app.start_timeout)
        environment = {"STICKY_WORKER": names.worker_of(options.name), "STICKY_INCARNATION": options.name}
        return await self._spawn(options, channels, environment)

    async def _spawn(self, options: WorkerOptions, channels: Channels, environment: Mapping[str, str]) -> Process:
        return await spawn(options, channels, self.app, self._folder, self._run_dir.owner, environment)

    def _report_exit(self, server: ForkServerProcess) -> None:
        how = processes.how_it_ended(server.exit_code)
        self._output.problem(
            f"App {self.app_name}: the process that forks its workers (pid {server.pid}) {how}; "
            "those that it has forked serve on"
        )


def cache_options(settings: Settings, app_name: str, run_dir: RunDir) -> CacheOptions | None:
    """What the workers of an app are told of the files that nginx keeps; None if it keeps none."""
    cache = settings.cache
    if not cache.enabled:
        return None
    return CacheOptions(str(run_dir.compressed), cache.max_size, cache.max_age, settings.cached_paths(app_name))
