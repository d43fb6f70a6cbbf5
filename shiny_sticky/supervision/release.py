"""One app as one deploy read it, and how its processes come to be: forked off a fork server, or each spawned."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.processes import Process
from shiny_sticky.settings import names
from shiny_sticky.settings.model import AppSettings, Settings
from shiny_sticky.supervision.activation import ActivationSocket
from shiny_sticky.supervision.app_import import AppImport
from shiny_sticky.supervision.cgroups import Groups
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.fork_server import ForkServerGone, ForkServerProcess
from shiny_sticky.supervision.inbox import inbox_of
from shiny_sticky.supervision.incarnation import STOP_SECONDS, Incarnation
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.options import CacheOptions, DependencyOptions, NoticeOptions, ResumeOptions, WorkerOptions

# Why forks share nothing of an app whose first fork did not answer.
DISTRUST = "did not work in a process forked off its import"


class Release:
    """What one deploy read of an app. Everything that it says stays as it is; the next deploy makes another.

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
        self._resume = resume_options(settings)
        self._notices = notice_options(self.app)
        self._frame_ancestors = frame_ancestors(settings)
        self._import = AppImport(app_name, self.app, folder, run_dir, output)
        self._run_dir = run_dir
        self._output = output
        self._groups = groups
        self._spare: Incarnation | None = None  # started before it is wanted
        self._proving = asyncio.Lock()  # held until the first fork of a fork server answers
        # Held while a process starts, so that the launcher never has the descriptors of two starts open.
        self._start_lock = asyncio.Lock()

    @property
    def fork_server(self) -> ForkServerProcess | None:
        """The running fork server; None if there is none."""
        return self._import.fork_server

    @property
    def ended(self) -> bool:
        """Whether there is no fork server, nor is one being started."""
        return self._import.ended

    async def prepare(self, worker: str = "") -> None:
        """Wait until processes can be had: the app is imported, if they are to be forked.

        Args:
            worker: one that is to be started then. If forks import a part of the app, its process is started now,
                to see whether they can.

        Raises:
            StartFailed: it cannot be imported, or not in time (start_timeout); the app is named.
        """
        try:
            await self._import.prepare()
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
            await self._import.try_import()
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
        spare = self._spare
        if spare is not None and spare.worker == worker:
            self._spare = None
            if spare.alive:
                return spare
        async with self._proving:
            await self.prepare()
            if self.fork_server is not None and not self.fork_server.proven:
                return await self._start_first(worker, waiting)
        return await self._start(worker, waiting)

    async def _start_first(self, worker: str, waiting: ActivationSocket | None) -> Incarnation:
        """Start the first process that is forked off an import, before any other is.

        Some libraries let themselves be forked, and then do not work: if it does not answer, one is tried that
        shares nothing of the app, and if that answers, all others are like it.

        Raises:
            StartFailed: neither did come up.
        """
        try:
            incarnation = await self._start(worker, waiting)
        except StartFailed as failure:
            # The app's own code says what is wrong, or what failed was not the fork.
            if failure.traceback or self._import.distrust or self.fork_server is None:
                raise
            self._output.problem(f"{failure} Perhaps because it was forked: another one imports all of it itself.")
            self._import.forget(DISTRUST)
            try:
                incarnation = await self._start(worker)
            except StartFailed:
                self._import.forget()
                raise
        if self.fork_server is not None:
            self.fork_server.prove()
        return incarnation

    async def _start(self, worker: str, waiting: ActivationSocket | None = None) -> Incarnation:
        """Start a process for a worker, and wait until it answers; raises what :meth:`start` does."""
        incarnation = None
        try:
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
        if self._spare is not None:
            self._spare.kill()
        self._import.drain()

    def terminate(self) -> None:
        """Nothing to do: the fork server ends when its forks do."""

    def kill(self) -> None:
        """End the fork server at once; its forks live on."""
        self._import.kill()

    async def wait(self) -> None:
        """Wait for the end of the fork server."""
        await self._import.wait()

    async def _begin(self, worker: str, waiting: ActivationSocket | None) -> Incarnation:
        """Start a process for a worker; it does not answer yet. A socket that is there is good for one try."""
        async with self._start_lock:
            for _ in range(1 if waiting else 2):
                await self._import.prepare()
                try:
                    return await self._begin_once(worker, waiting)
                except ForkServerGone:
                    await self._import.wait()
        raise StartFailed("the process that has imported the app ends whenever it is to be forked.")

    async def _begin_once(self, worker: str, waiting: ActivationSocket | None) -> Incarnation:
        """Start a process, with a name and files of its own: an earlier one may have been forked, and not told of.

        Raises:
            ForkServerGone: the process that it was to be forked off has ended.
        """
        name = self._run_dir.new_incarnation(worker) if waiting is None else waiting.name
        notes = self._run_dir.make_notes_folder(self.app_name)
        kept = self._run_dir.make_kept_folder(self.app_name)
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
                frame_ancestors=self._frame_ancestors,
                isolated=self.app.isolated,
                cookie=self._cookie,
                empty_flushes=self.app.empty_flushes,
                compress_messages=self.app.compress_messages,
                cache=self._cache,
                link=str(self._run_dir.link_of(worker)),
                dependencies=DependencyOptions(str(notes), str(nginx_cache)),
                resume=self._resume,
                notices=self._notices,
                reconnect=self.app.reconnect,
                kept=str(kept),
                release=self._tag,
                log_size=self._log_size,
                inbox=str(inbox_of(self._run_dir, name)),
            )
            process = await self._fork_or_spawn(options, channels)
            if problem := self._run_dir.note_pid(channels.descriptors.pid_file, process.pid):
                self._output.relay(
                    worker, f"its pid file cannot be written: {problem} ({self._run_dir.path})", True
                )
            group = None if self._groups is None else self._groups.limit(name, process.pid, self.app.limits)
            return Incarnation(name, process, channels, self._drain_timeout, self._run_dir, self._output, group)

    async def _fork_or_spawn(self, options: WorkerOptions, channels: Channels) -> Process:
        if self._import.forks:
            return await self._import.fork(options, channels)
        environment = {"STICKY_WORKER": names.worker_of(options.name), "STICKY_INCARNATION": options.name}
        return await self._import.spawn(options, channels, environment)


def resume_options(settings: Settings) -> ResumeOptions:
    """How an app's workers let sessions outlive their connections.

    Args:
        settings: all settings.
    """
    resume = settings.resume
    return ResumeOptions(resume.timeout, resume.buffer, resume.max_suspended, settings.identity_headers)


def frame_ancestors(settings: Settings) -> str:
    """Who may show an app's pages in a frame, as Content-Security-Policy says it; empty is everybody.

    Args:
        settings: all settings.
    """
    if settings.frame_ancestors == "any":
        return ""
    others = [] if settings.frame_ancestors == "self" else settings.frame_ancestors
    return " ".join(["'self'", *others])


def notice_options(app: AppSettings) -> NoticeOptions | None:
    """How an app's visitors are told what goes on; None if they are not."""
    texts = {str(name): text for name, text in app.notices.texts.items()}
    return NoticeOptions(texts) if app.notices.enabled else None


def cache_options(settings: Settings, app_name: str, run_dir: RunDir) -> CacheOptions | None:
    """What the workers of an app are told of the files that nginx keeps; None if it keeps none."""
    cache = settings.cache
    if not cache.enabled:
        return None
    return CacheOptions(str(run_dir.compressed), cache.max_size, cache.max_age, settings.cached_paths(app_name))
