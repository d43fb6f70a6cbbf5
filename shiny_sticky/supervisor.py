"""Keeps the workers and nginx: starts them, replaces those that end, deploys, stops everything in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

from shiny_sticky import processes
from shiny_sticky.errors import StickyError
from shiny_sticky.front import Front, check_ports
from shiny_sticky.incarnation import STOP_SECONDS, Incarnation, StartFailed
from shiny_sticky.output import Output
from shiny_sticky.rundir import Leftover, RunDir
from shiny_sticky.settings import AppSettings, Settings, worker_names

# Seconds on top of what a process is granted, before it is killed.
MARGIN = 2

# Settings that what runs already depends on.
FIXED = ("run_dir", "user", "nginx")


class Worker:
    """A slot: a name that stays, filled by one process after another.

    Attributes:
        name: such as ``app2``.
        current: the process that serves.
        draining: earlier ones that still have sessions.
        restarts: how often it was filled again after a failure.
        filling: held while a new process is started for the slot.
    """

    def __init__(self, name: str, app_name: str, app: AppSettings) -> None:
        self.name = name
        self.app_name = app_name
        self.app = app
        self.current: Incarnation | None = None
        self.draining: set[Incarnation] = set()
        self.restarts = 0
        self.filling = asyncio.Lock()
        self.backoff = processes.Backoff()
        self.hang: asyncio.TimerHandle | None = None


class Supervisor:
    """Runs everything that one settings file asks for.

    Args:
        settings: the settings.
        folder: the settings file's.
        run_dir: prepared and locked.
        front: nginx; None if it is not the launcher's to run.
        output: where to say what happens.
        load: reads the settings file anew.
        configure: writes nginx's configuration for settings, and says whether it has changed.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        run_dir: RunDir,
        front: Front | None,
        output: Output,
        load: Callable[[], Settings],
        configure: Callable[[Settings], bool],
    ) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.front = front
        self.workers: dict[str, Worker] = {}
        self.since = time.time()
        self._folder = folder
        self._output = output
        self._load = load
        self._configure = configure
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._deploying = asyncio.Lock()
        self._drain_timeout = settings.deploy.drain_timeout  # of the processes that are started now
        self._recycling: set[str] = set()  # apps
        self._tasks: asyncio.TaskGroup | None = None
        for app_name, app in settings.apps.items():
            for name in worker_names(app_name, app.workers):
                self.workers[name] = Worker(name, app_name, app)

    async def run(self, beside: Callable[[], Awaitable[None]]) -> None:
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

        leftovers = self.run_dir.leftovers()
        serving = asyncio.create_task(self._serve(leftovers, beside))
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
            # Of an earlier launcher's, what still serves goes on serving.
            await self._stop_all(front=not leftovers)
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise

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
        assert self._tasks is not None
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

        self._tasks.create_task(do())
        return outcome

    async def _serve(self, leftovers: list[Leftover], beside: Callable[[], Awaitable[None]]) -> None:
        await self._start_workers()
        self.run_dir.remove_links(keep=set(self.workers))
        await self._start_front()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for leftover in leftovers:
                tasks.create_task(self._retire(leftover))
            for worker in self.workers.values():
                self._watch(worker)
            if self.front is not None:
                tasks.create_task(self._keep_front(self.front))
            tasks.create_task(_done(beside))
            self._greet()

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
            starts = [asyncio.create_task(self._fill(worker)) for worker in self.workers.values()]
            try:
                for done, start in enumerate(asyncio.as_completed(starts), 1):
                    await start
                    progress.update(f"{done} of {total} workers ready")
            finally:
                for task in starts:
                    task.cancel()
                await asyncio.gather(*starts, return_exceptions=True)
        self._output.event(f"{total} of {total} workers ready after {time.monotonic() - began:.1f} s")

    async def _fill(self, worker: Worker) -> Incarnation:
        """Start a new incarnation for a slot, and let the worker's socket be its own once it answers.

        Raises:
            StartFailed: it did not come up; what served before serves on.
        """
        incarnation = None
        try:
            incarnation = await Incarnation.start(
                worker.name,
                worker.app,
                self._folder,
                self.run_dir,
                self._drain_timeout,
                lambda line: self._output.relay(worker.name, line),
            )
            await incarnation.ready(worker.app.start_timeout)
            self.run_dir.link(incarnation.name)
        except BaseException as failure:
            if incarnation is not None:
                incarnation.kill()
                await incarnation.end()
            if isinstance(failure, OSError):  # disk full, no file descriptor left
                raise StartFailed(f"App {worker.app_name}: {worker.name} cannot be started: {failure}") from None
            if isinstance(failure, StartFailed):
                failure.text = f"App {worker.app_name}: {failure.text}"
            raise
        worker.current = incarnation
        return incarnation

    def _watch(self, worker: Worker) -> None:
        """Look after the process that has just filled a slot."""
        assert worker.current is not None and self._tasks is not None
        incarnation = worker.current
        incarnation.on_beat = lambda: self._beat(worker, incarnation)
        self._beat(worker, incarnation)
        self._tasks.create_task(self._keep(worker, incarnation))

    async def _keep(self, worker: Worker, incarnation: Incarnation) -> None:
        """Fill a slot again if its process ends without having been replaced."""
        code = await incarnation.end()
        if worker.current is not incarnation:
            return
        self._cancel_hang(worker)
        self._output.problem(f"{worker.name} (pid {incarnation.pid}) {processes.how_it_ended(code)}")
        served = incarnation.served
        while True:
            delay = worker.backoff.delay(served)
            if delay:
                self._output.event(f"{worker.name} is started again in {delay:g} s")
                await asyncio.sleep(delay)
            async with worker.filling:
                if worker.current is not incarnation or worker.name not in self.workers:
                    return  # a deploy has filled it, or taken it out
                try:
                    new = await self._fill(worker)
                except StartFailed as failure:
                    self._show(worker, failure)
                    served = 0.0
                    continue
            worker.restarts += 1
            self._watch(worker)
            self._output.event(f"{worker.name} is back (pid {new.pid})")
            return

    def _show(self, worker: Worker, failure: StartFailed) -> None:
        for line in failure.traceback.splitlines():
            self._output.relay(worker.name, line)
        self._output.problem(str(failure))

    async def _replace(self, worker: Worker, app: AppSettings) -> None:
        """Fill a slot anew, and let the process that served drain.

        Raises:
            StartFailed: the new one did not come up; the old one serves on, with its old settings.
        """
        async with worker.filling:
            old, old_app = worker.current, worker.app
            worker.app = app
            try:
                new = await self._fill(worker)
            except StartFailed:
                worker.app = old_app
                raise
            self._watch(worker)
        self._output.event(f"{worker.name} is {new.name} now (pid {new.pid})")
        if old is not None:
            self._drain(worker, old)

    def _drain(self, worker: Worker, old: Incarnation) -> None:
        """Let a process that was replaced end with its last session."""
        assert self._tasks is not None
        if old.code is None:
            old.on_beat = lambda: None
            worker.draining.add(old)
            old.drain()
            self._tasks.create_task(self._until_drained(worker, old, self.settings.deploy.drain_timeout))

    async def _until_drained(self, worker: Worker, old: Incarnation, timeout: float) -> None:
        if not await old.ended_within(timeout + STOP_SECONDS + MARGIN):
            old.kill()
            await old.end()
        worker.draining.discard(old)
        self._output.event(f"{old.name} (pid {old.pid}) has left")

    # --- keeping them well

    def _beat(self, worker: Worker, incarnation: Incarnation) -> None:
        """A worker's event loop gives a sign of life: wait for the next, and see whether it is time to go."""
        self._cancel_hang(worker)
        if worker.app.hang_timeout:
            loop = asyncio.get_running_loop()
            worker.hang = loop.call_later(worker.app.hang_timeout, self._hung, worker, incarnation)
        reason = self._why_recycle(worker.app, incarnation)
        if reason and worker.app_name not in self._recycling and not self._deploying.locked():
            assert self._tasks is not None
            self._recycling.add(worker.app_name)
            self._tasks.create_task(self._recycle(worker, reason))

    def _why_recycle(self, app: AppSettings, incarnation: Incarnation) -> str:
        """Why a worker should be replaced by now; empty if it should not."""
        limits = app.recycle
        if limits.max_sessions is not None and incarnation.sessions_served >= limits.max_sessions:
            return f"it has served {incarnation.sessions_served} sessions (recycle.max_sessions)"
        if limits.lifetime is not None and incarnation.served >= limits.lifetime:
            return f"it has served for {incarnation.served:.0f} s (recycle.lifetime)"
        if limits.max_memory is not None:
            memory = processes.memory(incarnation.pid)
            if memory > limits.max_memory:
                return f"it has grown to {memory / 1e6:.0f} MB (recycle.max_memory)"
        return ""

    async def _recycle(self, worker: Worker, reason: str) -> None:
        """Replace one worker; never two of an app at once."""
        self._output.event(f"{worker.name} is replaced: {reason}")
        try:
            await self._replace(worker, worker.app)
        except StartFailed as failure:
            self._show(worker, failure)
            await asyncio.sleep(worker.backoff.LONGEST)
        finally:
            self._recycling.discard(worker.app_name)

    def _cancel_hang(self, worker: Worker) -> None:
        if worker.hang is not None:
            worker.hang.cancel()
            worker.hang = None

    def _hung(self, worker: Worker, incarnation: Incarnation) -> None:
        """End a worker whose event loop is stuck; its slot is filled again like that of any that ends."""
        if worker.current is not incarnation:
            return
        timeout = f"{worker.app.hang_timeout:g} s"
        self._output.problem(
            f"{worker.name} (pid {incarnation.pid}) has hung for {timeout} (hang_timeout); its threads:"
        )
        incarnation.abort()
        asyncio.get_running_loop().call_later(MARGIN, incarnation.kill)

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
        wanted = {
            name: (app_name, app)
            for app_name, app in new.apps.items()
            for name in worker_names(app_name, app.workers)
        }
        self._output.event(f"Deploying {len(wanted)} workers, {new.deploy.surge} at a time")
        self._drain_timeout = new.deploy.drain_timeout
        await self._roll(wanted, new.deploy.surge)

        removed = [self.workers.pop(name) for name in list(self.workers) if name not in wanted]
        self.settings = new
        if self._configure(new) and self.front is not None:
            self.front.reload()
            self._output.event("nginx has read its new configuration")
        self.run_dir.remove_links(keep=set(wanted))
        for worker in removed:
            self._cancel_hang(worker)
            old, worker.current = worker.current, None
            if old is not None:
                self._drain(worker, old)
        return f"Deployed {len(wanted)} workers in {time.monotonic() - began:.1f} s"

    async def _roll(self, wanted: dict[str, tuple[str, AppSettings]], surge: int) -> None:
        """Fill every wanted slot anew, a few at a time, until one fails."""
        pending = list(wanted.items())
        running: set[asyncio.Task[None]] = set()
        failure: BaseException | None = None
        try:
            while running or (pending and failure is None):
                while pending and failure is None and len(running) < surge:
                    name, (app_name, app) = pending.pop(0)
                    worker = self.workers.get(name) or Worker(name, app_name, app)
                    running.add(asyncio.create_task(self._roll_one(worker, app)))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    failure = failure or task.exception()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if failure is not None:
            raise failure

    async def _roll_one(self, worker: Worker, app: AppSettings) -> None:
        await self._replace(worker, app)
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
                await self._replace(worker, worker.app)
            except StartFailed as failure:
                self._show(worker, failure)
                raise
        assert worker.current is not None
        return f"{name} is {worker.current.name} now (pid {worker.current.pid})"

    # --- nginx

    async def _start_front(self) -> None:
        """Start nginx, or take over the one that serves this configuration already."""
        if self.front is None:
            return
        if self.front.find():
            self.front.reload()
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
        self._output.event(f"{leftover.incarnation} (pid {leftover.pid}) of an earlier launcher may leave")
        timeout = self.settings.deploy.drain_timeout + STOP_SECONDS + MARGIN
        await processes.end(leftover.pid, timeout, signal.SIGUSR2)
        self.run_dir.remove(leftover.incarnation)
        self._output.event(f"{leftover.incarnation} (pid {leftover.pid}) has left")

    def _greet(self) -> None:
        """Say where the apps are, and show the workers."""
        base = url(self.settings.listen[0])
        for app_name, app in self.settings.apps.items():
            self._output.event(f"{app_name} is at {base}{app.path}")
        if self.front is None:
            self._output.event(f'nginx is yours to start: nginx -p "$PWD" -c {self.settings.nginx.conf}')
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

    async def _stop_all(self, front: bool = True) -> None:
        """Stop nginx and all workers: in order, or at once after a second signal.

        Args:
            front: whether nginx stops too.
        """
        nginx = self.front if front and self.front is not None and self.front.pid else None
        if nginx is not None:
            nginx.quit()
        alive = [
            incarnation
            for worker in self.workers.values()
            for incarnation in (worker.current, *worker.draining)
            if incarnation is not None and incarnation.code is None
        ]
        all_ended = asyncio.create_task(_all_ended(alive, nginx))
        at_once = asyncio.create_task(self._at_once.wait())

        for incarnation in alive:
            incarnation.drain()
        await _first({all_ended, at_once}, self.settings.stop.drain_timeout)
        for incarnation in alive:
            incarnation.terminate()
        await _first({all_ended, at_once}, STOP_SECONDS + MARGIN)

        at_once.cancel()
        for incarnation in alive:
            incarnation.kill()
        if nginx is not None:
            nginx.kill()
        await all_ended
        if front:
            self.run_dir.remove_links(keep=set())


async def _all_ended(incarnations: list[Incarnation], nginx: Front | None) -> None:
    for incarnation in incarnations:
        await incarnation.end()
    if nginx is not None:
        await nginx.ended()


async def _first(tasks: set[asyncio.Task[None] | asyncio.Task[bool]], timeout: float) -> None:
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


async def _done(start: Callable[[], Awaitable[None]]) -> None:
    await start()


def url(address: str) -> str:
    """The URL by which a browser on this machine reaches a listen address."""
    host, _, port = address.rpartition(":")
    here = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{here}" + ("" if port == "80" else f":{port}")
