"""Keeps the workers and nginx: starts them, replaces those that end, deploys, stops everything in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from shiny_sticky import processes
from shiny_sticky.errors import StartFailed, StickyError
from shiny_sticky.front.nginx_process import Front, check_ports
from shiny_sticky.output import Output
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.names import worker_names
from shiny_sticky.supervision.incarnation import STOP_SECONDS, CachedFiles
from shiny_sticky.supervision.parent import Parent
from shiny_sticky.supervision.rundir import Leftover, RunDir
from shiny_sticky.supervision.slot import MARGIN, Surroundings, Worker

# Settings that what runs already depends on.
FIXED = ("run_dir", "user", "nginx")

# Sessions that there should be room for without a word.
MANY_SESSIONS = 2000


class Supervisor:
    """Runs everything that one settings file asks for.

    Args:
        settings: the settings.
        folder: the settings file's.
        run_dir: prepared and locked.
        front: nginx; None if it is not the launcher's to run.
        output: where to say what happens.
        load: reads the settings file anew.
        configure: lets nginx check the configuration for settings, and writes it if told to; whether it differs.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        run_dir: RunDir,
        front: Front | None,
        output: Output,
        load: Callable[[], Settings],
        configure: Callable[[Settings, bool], bool],
    ) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.front = front
        self.workers: dict[str, Worker] = {}
        self.parents: list[Parent] = []  # those that workers come from, and earlier ones with processes yet
        self.since = time.time()
        self._folder = folder
        self._output = output
        self._load = load
        self._configure = configure
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._deploying = asyncio.Lock()
        self._recycling: set[str] = set()  # apps
        self._leftovers: list[Leftover] = []
        self._leftover_parents: list[Leftover] = []
        self._removed: list[Worker] = []  # by a deploy; their processes may still have sessions
        self._tasks: asyncio.TaskGroup | None = None
        self._surroundings = Surroundings(
            run_dir=run_dir,
            output=output,
            spawn=self._spawn,
            drain_timeout=settings.deploy.drain_timeout,
            cached=cached_files(settings),
            may_recycle=self._may_recycle,
            recycled=self._recycling.discard,
        )
        for name, parent in self._parents_of(settings).items():
            self.workers[name] = Worker(name, parent, self._surroundings)

    async def run(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve until a signal says to stop.

        Args:
            beside: run once everything serves, until the end.

        Raises:
            StickyError: the workers or nginx do not come up; nothing that was started is left running.
        """
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGINT"):
            loop.add_signal_handler(getattr(signal, name), self._handle_stop, name)
        loop.add_signal_handler(signal.SIGHUP, self._handle_hup)

        self._leftovers = self.run_dir.leftovers()
        self._leftover_parents = self.run_dir.leftover_parents()
        taken_over = bool(self._leftovers)
        serving = asyncio.create_task(self._serve(beside))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            serving.cancel()
        stopping.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            await self._stop_all()
        except BaseException as error:
            await self._stop_all(but_earlier=taken_over)
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise

    @property
    def all_workers(self) -> list[Worker]:
        """Every worker that has a process: those that are served from, and removed ones that drain."""
        return [*self.workers.values(), *(worker for worker in self._removed if worker.alive)]

    def _handle_stop(self, name: str) -> None:
        """The first signal asks to finish, the second ends it at once."""
        if self._stop.is_set():
            self._output.event(f"{name} again: ending everything at once")
            self._at_once.set()
        else:
            wait = f"{self.settings.stop.drain_timeout:g} s"
            self._output.event(
                f"{name}: stopping; open sessions and requests get {wait}, a second signal ends them"
            )
            self._stop.set()

    def _handle_hup(self) -> None:
        """Deploy; how it went is said there."""
        if self._tasks is not None:
            self._begin(self._deploy_and_say())

    def _begin(self, doing: Coroutine[None, None, str]) -> asyncio.Future[str]:
        """Do something for somebody, beside all else: they are told if it fails; when everything stops, so does it.

        Returns:
            What comes of it.
        """
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody need ask for it

        async def do() -> None:
            try:
                result = await doing
            except Exception as error:
                outcome.set_exception(error)
            except BaseException:
                outcome.cancel()
                raise
            else:
                outcome.set_result(result)

        self._spawn(do())
        return outcome

    async def _serve(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await self._start_workers()
        self.run_dir.remove_links(keep=set(self.workers))
        self._clear_cache()
        await self._start_front()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for leftover in self._leftovers:
                    self._spawn(self._retire(leftover))
                for leftover in self._leftover_parents:
                    self._spawn(self._bury(leftover))
                for worker in self.workers.values():
                    worker.watch()
                if self.front is not None:
                    self._spawn(self._keep_front(self.front))
                self._spawn(beside())
                self._greet()
        finally:
            self._tasks = None

    def _spawn(self, doing: Coroutine[Any, Any, None]) -> None:
        """Run something beside all else; what everything stops for stops it too."""
        if self._tasks is None:
            doing.close()
        else:
            self._tasks.create_task(doing)

    def _may_recycle(self, app: str) -> bool:
        """Whether a worker of an app may be replaced for its age or size now: never two at once."""
        if self._tasks is None or app in self._recycling or self._deploying.locked():
            return False
        self._recycling.add(app)
        return True

    # --- workers

    async def _start_workers(self) -> None:
        """Start all workers side by side.

        Raises:
            StartFailed: one did not come up; its app is named.
        """
        total = len(self.workers)
        began = time.monotonic()
        apps = ", ".join(self.settings.apps)
        with self._output.progress(f"Starting {total} worker{'s' * (total > 1)} of {apps}") as progress:
            starts = [asyncio.create_task(worker.fill()) for worker in self.workers.values()]
            try:
                for done, start in enumerate(asyncio.as_completed(starts), 1):
                    await start
                    progress.update(f"{done} of {total} workers ready")
            finally:
                for task in starts:
                    task.cancel()
                await asyncio.gather(*starts, return_exceptions=True)
        self._output.event(f"{total} of {total} workers ready after {time.monotonic() - began:.1f} s")

    # --- deploy

    async def deploy(self) -> str:
        """Read the settings again, and replace every worker without dropping a session.

        Returns:
            What was done, in a sentence.

        Raises:
            StickyError: a mistake in the settings (nothing has changed), or a worker that did not come up (it, and
                those after it, are still the old ones).
        """
        return await asyncio.shield(self._begin(self._deploy_and_say()))

    async def _deploy_and_say(self) -> str:
        if self._deploying.locked():
            raise StickyError("A deploy is under way already.")
        async with self._deploying:
            try:
                done = await self._deploy()
            except StickyError as failure:
                for line in getattr(failure, "traceback", "").splitlines():
                    self._output.event(line, style="")
                self._output.problem(f"The deploy has failed; what served before serves on. {failure}")
                raise
            self._output.event(done)
            return done

    async def _deploy(self) -> str:
        began = time.monotonic()
        new = self._load()
        for key in FIXED:
            if getattr(new, key) != getattr(self.settings, key):
                raise StickyError(f"{key} has changed: that takes a restart of the launcher.")
        if self.front is not None:
            check_ports(new.listen, ours=self.front.members())
        await asyncio.to_thread(self._configure, new, False)
        wanted = self._parents_of(new)
        self._output.event(f"Deploying {len(wanted)} workers, {new.deploy.surge} at a time")
        try:
            await self._import(set(wanted.values()))
            self._surroundings.drain_timeout = new.deploy.drain_timeout
            self._surroundings.cached = cached_files(new)
            await self._roll(wanted, new.deploy.surge)

            removed = [self.workers.pop(name) for name in list(self.workers) if name not in wanted]
            self.settings = new
            if await asyncio.to_thread(self._configure, new, True):
                if self.front is not None:
                    await self.front.reload()
                    self._output.event("nginx has read its new configuration")
                else:
                    self._output.event(f"{new.nginx.conf} has changed; nginx is yours to reload: nginx -s reload")
            self.run_dir.remove_links(keep=set(wanted))
            for worker in removed:
                worker.take_out()
            self._removed = [worker for worker in self._removed + removed if worker.alive]
        finally:
            self._clear_cache()
            self._retire_parents()
        return f"Deployed {len(wanted)} workers in {time.monotonic() - began:.1f} s"

    def _parents_of(self, settings: Settings) -> dict[str, Parent]:
        """New parents for all apps: every worker that settings ask for, with the one that it comes from."""
        wanted: dict[str, Parent] = {}
        for app_name, app in settings.apps.items():
            parent = Parent(app_name, app, self._folder, self.run_dir, self._output)
            self.parents.append(parent)
            wanted |= dict.fromkeys(worker_names(app_name, app.workers), parent)
        return wanted

    async def _import(self, parents: set[Parent]) -> None:
        """Import apps, side by side, before anything that serves is touched.

        Raises:
            StartFailed: one does not import.
        """

        async def ready(parent: Parent) -> None:
            try:
                await parent.ready()
            except StartFailed as failure:
                raise failure.of(parent.app_name) from None
            except OSError as error:  # no file descriptor left
                raise StartFailed(f"App {parent.app_name}: cannot be imported: {error}") from None

        await _all([ready(parent) for parent in parents])

    def _retire_parents(self) -> None:
        """Let go of the parents that no worker comes from any more."""
        used = {worker.parent for worker in self.workers.values()}
        for parent in self.parents:
            if parent not in used:
                parent.retire()
        self.parents = [parent for parent in self.parents if parent in used or not parent.ended]

    async def _roll(self, wanted: dict[str, Parent], surge: int) -> None:
        """Fill every wanted slot anew, a few at a time, until one fails."""
        pending = list(wanted.items())
        running: set[asyncio.Task[None]] = set()
        failure: BaseException | None = None
        try:
            while running or (pending and failure is None):
                while pending and failure is None and len(running) < surge:
                    name, parent = pending.pop(0)
                    worker = self.workers.get(name) or Worker(name, parent, self._surroundings)
                    running.add(asyncio.create_task(self._roll_one(worker, parent)))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    failure = failure or task.exception()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if failure is not None:
            raise failure

    async def _roll_one(self, worker: Worker, parent: Parent) -> None:
        await worker.replace(parent)
        self.workers[worker.name] = worker

    async def restart(self, name: str) -> str:
        """Replace one worker as in a deploy.

        Args:
            name: the worker.

        Raises:
            StickyError: there is none of that name, or it does not come up; the old one serves on.
        """
        return await asyncio.shield(self._begin(self._restart(name)))

    async def _restart(self, name: str) -> str:
        worker = self.workers.get(name)
        if worker is None:
            raise StickyError(f"There is no worker {name}; there are: {', '.join(self.workers)}")
        if self._deploying.locked():
            raise StickyError("A deploy is under way already.")
        async with self._deploying:
            try:
                await worker.replace(worker.parent)
            except StartFailed as failure:
                worker.show(failure)
                raise
        assert worker.current is not None
        return f"{name} is {worker.current.name} now (pid {worker.current.pid})"

    # --- nginx

    def _clear_cache(self) -> None:
        """Let nginx ask the workers for each file anew, for they have new code."""
        try:
            self.run_dir.clear_cache()
        except OSError as error:
            self._output.problem(
                f"nginx's cache cannot be emptied ({error.filename}: {error.strerror}); files from before the "
                f"deploy may be served on. As root: find {self.run_dir.cache} -type f -delete"
            )

    async def _start_front(self) -> None:
        """Start nginx, or take over the one that serves this configuration already."""
        if self.front is None:
            return
        if self.front.adopt_running():
            await self.front.reload()
            self._output.event(f"nginx runs already (pid {self.front.pid}); it has read its configuration again")
        else:
            await self.front.start()

    async def _keep_front(self, front: Front) -> None:
        """Start nginx again whenever it has ended."""
        backoff = processes.Backoff()
        while True:
            began = time.monotonic()
            how = await front.ended()
            self._output.problem(f"nginx (pid {front.pid}) {how}")
            while True:
                delay = backoff.delay(time.monotonic() - began)
                if delay:
                    self._output.event(f"nginx is started again in {delay:g} s")
                    await asyncio.sleep(delay)
                try:
                    await front.start()
                    break
                except StickyError as failure:
                    began = time.monotonic()
                    self._output.problem(str(failure))
            self._output.event(f"nginx is back (pid {front.pid})")

    # --- beginning and end

    async def _retire(self, leftover: Leftover) -> None:
        """Let a worker of an earlier launcher drain, now that its slot is filled anew."""
        self._output.event(f"{leftover.name} (pid {leftover.pid}) of an earlier launcher may leave")
        timeout = self.settings.deploy.drain_timeout + STOP_SECONDS + MARGIN
        await processes.end(leftover.pid, timeout, signal.SIGUSR2)
        self.run_dir.remove(leftover.name)
        self._leftovers.remove(leftover)
        self._output.event(f"{leftover.name} (pid {leftover.pid}) has left")

    async def _bury(self, leftover: Leftover) -> None:
        """Tidy up after a parent of an earlier launcher: it ends by itself, with the last of its workers."""
        await processes.gone(leftover.pid)
        self.run_dir.remove(leftover.name)
        self._leftover_parents.remove(leftover)

    def _greet(self) -> None:
        """Say where the apps are, and show the workers."""
        base = url(self.settings.listen[0])
        for app_name, app in self.settings.apps.items():
            self._output.event(f"{app_name} is at {base}{app.path}")
        if self.front is None:
            self._output.event(f'nginx is yours to start: nginx -p "$PWD" -c {self.settings.nginx.conf}')
        if too_few := too_few_files(self.settings):
            self._output.problem(too_few)
        if os.geteuid() == 0 and not self.run_dir.owner.switches:
            self._output.problem("nginx and the workers run as root. Set `user` to run them as somebody else.")
        rows = [
            [worker.name, str(worker.current.pid), str(self.run_dir.path / f"{worker.name}.sock")]
            for worker in self.workers.values()
            if worker.current is not None
        ]
        if self.front is not None:
            rows.append(["nginx", str(self.front.pid), ", ".join(self.settings.listen)])
        self._output.table(["worker", "pid", "socket"], rows)

    async def _stop_all(self, but_earlier: bool = False) -> None:
        """Stop nginx and all workers: in order, or at once after a second signal.

        Args:
            but_earlier: whether what an earlier launcher has left serving, nginx among it, goes on.
        """
        nginx = self.front if self.front is not None and self.front.pid and not but_earlier else None
        alive = [incarnation for worker in self.all_workers for incarnation in worker.alive]
        leftovers = [] if but_earlier else self._leftovers + self._leftover_parents
        others = [leftover.pid for leftover in leftovers]  # they drain already; parents end with their last worker
        for parent in self.parents:
            parent.retire()
        ends: list[Coroutine[Any, Any, Any]] = [incarnation.end() for incarnation in alive]
        ends += [parent.end() for parent in self.parents]
        ends += [processes.gone(pid) for pid in others]
        if nginx is not None:
            nginx.quit()
            ends.append(nginx.ended())
        all_ended = asyncio.create_task(_all(ends))
        at_once = asyncio.create_task(self._at_once.wait())

        for incarnation in alive:
            incarnation.drain()
        await _first({all_ended, at_once}, self.settings.stop.drain_timeout)

        for incarnation in alive:
            incarnation.terminate()
        for pid in others:
            processes.send(pid, signal.SIGTERM)
        await _first({all_ended, at_once}, STOP_SECONDS + MARGIN)

        at_once.cancel()
        for incarnation in alive:
            incarnation.kill()
        for parent in self.parents:
            parent.kill()
        for pid in others:
            processes.send(pid, signal.SIGKILL)
        if nginx is not None:
            nginx.kill()
        await all_ended
        for leftover in leftovers:
            self.run_dir.remove(leftover.name)
        if not but_earlier:
            self.run_dir.remove_links(keep=set())


async def _all(ends: list[Coroutine[Any, Any, Any]]) -> None:
    await asyncio.gather(*ends)


async def _first(tasks: set[asyncio.Task[None] | asyncio.Task[bool]], timeout: float) -> None:
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def cached_files(settings: Settings) -> dict[str, CachedFiles]:
    """What nginx keeps of each app's files."""
    cache = settings.cache
    if not cache.enabled:
        return {}
    return {name: CachedFiles(settings.cached_paths(name), cache.max_size, cache.max_age) for name in settings.apps}


def too_few_files(settings: Settings) -> str:
    """What to say if the limit on open files stands in the way of many sessions; empty if it does not."""
    limit = processes.open_files_limit()
    # nginx may have half of its open files as connections, and a session takes two of these.
    sessions = (os.cpu_count() or 1) * limit // 4
    wanted = max(MANY_SESSIONS, sum((app.max_sessions or 0) * app.workers for app in settings.apps.values()))
    if sessions >= wanted:
        return ""
    return (
        f"Each process may open {limit} files only (ulimit -Hn): enough for about {sessions} sessions. "
        f"For more: ulimit -n {processes.OPEN_FILES} as root before the start, or LimitNOFILE= in the service."
    )


def url(address: str) -> str:
    """The URL by which a browser on this machine reaches a listen address."""
    host, _, port = address.rpartition(":")
    here = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{here}" + ("" if port == "80" else f":{port}")
