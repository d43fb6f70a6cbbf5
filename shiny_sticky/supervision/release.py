"""One app as one deploy read it, and how its processes come to be: forked off a fork server, or each spawned."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shiny_sticky import processes, resources
from shiny_sticky.concurrency import mark_retrieved
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.processes import Process
from shiny_sticky.settings import names
from shiny_sticky.settings.model import AppSettings, Settings
from shiny_sticky.settings.users import environment_of
from shiny_sticky.supervision.activation import ActivationSocket
from shiny_sticky.supervision.cgroups import Groups
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.fork_server import ForkServerGone, ForkServerProcess
from shiny_sticky.supervision.incarnation import STOP_SECONDS, Incarnation
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.shared_folders import shared_folder
from shiny_sticky.worker.options import CacheOptions, DependencyOptions, WorkerOptions

# Seconds that a fork server gets to end when it must not fork, or has imported the app too slowly.
END_SECONDS = 4


class Release:
    """What one deploy read of an app. Everything that it says stays as it is; the next deploy makes another.

    A fork server is started when a process is first wanted, and anew should it be killed.

    Args:
        app_name: the app's.
        settings: all settings.
        folder: the settings file's; module:attribute targets are looked up there.
        run_dir: where sockets and pid files go.
        output: where to say what happens.
        pages_follow: whether open pages are to come back with the next release (--reload).
        groups: the site's control groups; None for a release that no worker comes from.
    """

    def __init__(
        self,
        app_name: str,
        settings: Settings,
        folder: Path,
        run_dir: RunDir,
        output: Output,
        pages_follow: bool = False,
        groups: Groups | None = None,
    ) -> None:
        self.app_name = app_name
        self.app: AppSettings = settings.apps[app_name]
        self.is_shiny = True  # until one of its processes says that it is not
        self._tag = secrets.token_hex(4) if pages_follow else ""
        self._drain_timeout = settings.deploy.drain_timeout
        self._cookie = settings.cookie_name(app_name)
        self._log_size = 2 * (settings.log.max_size or 0)  # a launcher, if there is one, rotates it before that
        self._cache = cache_options(settings, app_name, run_dir)
        # macOS has fork, but its frameworks do not survive it.
        self._forks = self.app.preload and sys.platform == "linux"
        self._folder = folder
        self._run_dir = run_dir
        self._output = output
        self._groups = groups
        self._fork_server: ForkServerProcess | None = None
        self._importing: asyncio.Task[None] | None = None
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

    async def prepare(self) -> None:
        """Wait until processes can be had: the app is imported, if they are to be forked.

        Raises:
            StartFailed: it cannot be imported, or not in time (start_timeout); the app is named.
        """
        try:
            await self._prepare()
        except StartFailed as failure:
            raise failure.of(self.app_name) from None
        except OSError as error:  # no file descriptor left
            raise StartFailed(f"App {self.app_name}: cannot be imported: {error}") from None

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

    async def start(self, worker: str, waiting: ActivationSocket | None = None) -> Incarnation:
        """Start a process for a worker, and wait until it answers.

        Args:
            worker: such as ``app2``.
            waiting: the socket on which it is to serve; None for one that is made for it.

        Raises:
            StartFailed: it did not come up, and is not running; the app is named.
        """
        incarnation = None
        try:
            await self._prepare()
            incarnation = await self._begin(worker, waiting)
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
        server = await self._start_fork_server()
        try:
            reason = await server.imported(self.app.start_timeout)
        except BaseException:
            server.kill()
            await server.wait()
            raise
        if reason:
            self._forks = False
            self._output.event(
                f"App {self.app_name}: each worker imports it anew, because it {reason}. "
                "preload: false says so at once."
            )
            # This process may hold a port or lock that the workers need: end it before they start.
            if not await server.wait(END_SECONDS):
                server.kill()
                await server.wait()
            return
        self._fork_server = server
        if again:
            self._output.event(f"App {self.app_name} is imported anew (pid {server.pid})")

    async def _start_fork_server(self) -> ForkServerProcess:
        name = self._run_dir.new_fork_server(self.app_name)
        with Channels.open(self._run_dir, name, listens=False) as channels:
            options = WorkerOptions(name=name, target=self.app.target, forks=True)
            process = await self._spawn(options, channels, {})
            self._run_dir.note_pid(channels.descriptors.pid_file, process.pid)
            return ForkServerProcess(
                name, self.app_name, process, channels, self._run_dir, self._output, self._report_exit
            )

    async def _begin(self, worker: str, waiting: ActivationSocket | None) -> Incarnation:
        """Start a process for a worker; it does not answer yet. A socket that is there is good for one try."""
        async with self._start_lock:
            for _ in range(1 if waiting else 2):
                await self._prepare()
                try:
                    return await self._begin_once(worker, waiting)
                except ForkServerGone:
                    assert self._fork_server is not None
                    await self._fork_server.wait()
        raise StartFailed("the process that has imported the app ends whenever it is to be forked.")

    async def _begin_once(self, worker: str, waiting: ActivationSocket | None) -> Incarnation:
        """Start a process, with a name and files of its own: an earlier one may have been forked, and not told of.

        Raises:
            ForkServerGone: the process that it was to be forked off has ended.
        """
        name = self._run_dir.new_incarnation(worker) if waiting is None else waiting.name
        notes = self._run_dir.make_notes_folder(self.app_name)
        nginx_cache = self._run_dir.cache if self._cache is not None else ""
        listener = None if waiting is None else waiting.listener.dup()
        with Channels.open(self._run_dir, name, listens=True, listener=listener) as channels:
            options = WorkerOptions(
                name=name,
                target=self.app.target,
                path=self.app.path,
                stop_timeout=STOP_SECONDS,
                drain_timeout=self._drain_timeout,
                max_sessions=self.app.max_sessions or 0,
                cookie=self._cookie,
                empty_flushes=self.app.empty_flushes,
                compress_messages=self.app.compress_messages,
                cache=self._cache,
                link=str(self._run_dir.link_of(worker)),
                dependencies=DependencyOptions(str(notes), str(nginx_cache)),
                release=self._tag,
                log_size=self._log_size,
            )
            process = await self._fork_or_spawn(options, channels)
            if problem := self._run_dir.note_pid(channels.descriptors.pid_file, process.pid):
                self._output.relay(
                    worker, f"its pid file cannot be written: {problem} ({self._run_dir.path})", True
                )
            group = None if self._groups is None else self._groups.limit(name, process.pid, self.app.limits)
            return Incarnation(name, process, channels, self._drain_timeout, self._run_dir, self._output, group)

    async def _fork_or_spawn(self, options: WorkerOptions, channels: Channels) -> Process:
        if self._forks:
            assert self._fork_server is not None
            return await self._fork_server.fork(options, channels, self.app.start_timeout)
        environment = {"STICKY_WORKER": names.worker_of(options.name), "STICKY_INCARNATION": options.name}
        return await self._spawn(options, channels, environment)

    async def _spawn(
        self, options: WorkerOptions, channels: Channels, environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        """Start a process in the app's own interpreter, environment and folder.

        Args:
            options: the worker's or fork server's.
            channels: to connect it with.
            environment: variables beside the app's own.

        Raises:
            StartFailed: the interpreter cannot be run.
        """
        owner = self._run_dir.owner
        options = replace(options, descriptors=channels.descriptors)
        interpreter = str(self.app.python or sys.executable)
        shared = {"STICKY_SHARED": str(shared_folder(self._run_dir, self.app_name))}
        try:
            return await asyncio.create_subprocess_exec(
                interpreter,
                str(resources.path("worker")),
                options.name,
                options.to_json(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=channels.stdout,
                stderr=channels.stderr,
                env={**environment_of(owner), **self.app.env, **shared, **environment},
                cwd=self.app.working_folder(self._folder),
                pass_fds=channels.descriptors.all(),
                # Ctrl-C is for the launcher, which ends its workers in order.
                start_new_session=True,
                user=owner.uid if owner.switches else None,
                group=owner.gid if owner.switches else None,
                extra_groups=[] if owner.switches else None,
            )
        except OSError as error:
            name = names.worker_of(options.name)
            raise StartFailed(f"{name} cannot be started with {interpreter}: {error.strerror}") from error

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
