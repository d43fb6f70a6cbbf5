"""Keeps the workers and nginx: starts them, replaces those that end, stops them in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from shiny_sticky import processes
from shiny_sticky.errors import StickyError
from shiny_sticky.front import Front
from shiny_sticky.incarnation import Incarnation, StartFailed
from shiny_sticky.output import Output
from shiny_sticky.rundir import Leftover, RunDir
from shiny_sticky.settings import AppSettings, Settings, worker_names

# Seconds that open requests get when everything stops, and what a worker may take on top to wind up.
STOP_TIMEOUT = 10
STOP_MARGIN = 2


class Worker:
    """A slot: a name that stays, filled by one process after another."""

    def __init__(self, name: str, app_name: str, app: AppSettings) -> None:
        self.name = name
        self.app_name = app_name
        self.app = app
        self.current: Incarnation | None = None


class Supervisor:
    """Runs everything that one settings file asks for.

    Args:
        settings: the settings.
        folder: the settings file's.
        run_dir: prepared and locked.
        front: nginx; None if it is not the launcher's to run.
        output: where to say what happens.
    """

    def __init__(
        self, settings: Settings, folder: Path, run_dir: RunDir, front: Front | None, output: Output
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._run_dir = run_dir
        self._front = front
        self._output = output
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._workers = [
            Worker(name, app_name, app)
            for app_name, app in settings.apps.items()
            for name in worker_names(app_name, app.workers)
        ]

    async def run(self) -> None:
        """Serve until a signal says to stop.

        Raises:
            StickyError: the workers or nginx do not come up; nothing that was started is left running.
        """
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            loop.add_signal_handler(getattr(signal, name), self._handle_stop, name)

        leftovers = self._run_dir.leftovers()
        serving = asyncio.create_task(self._serve(leftovers))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            serving.cancel()
        stopping.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            await self._stop_all()
        except BaseException:
            # Of an earlier launcher's, what still serves goes on serving.
            await self._stop_all(front=not leftovers)
            raise

    def _handle_stop(self, name: str) -> None:
        """The first signal asks to finish, the second ends it at once."""
        if self._stop.is_set():
            self._output.event(f"{name} again: ending everything at once")
            self._at_once.set()
        else:
            self._output.event(f"{name}: stopping; open requests get {STOP_TIMEOUT} s, a second signal ends them")
            self._stop.set()

    async def _serve(self, leftovers: list[Leftover]) -> None:
        await self._start_workers()
        self._run_dir.remove_links(keep={worker.name for worker in self._workers})
        await self._start_front()
        async with asyncio.TaskGroup() as group:
            for leftover in leftovers:
                group.create_task(self._retire(leftover))
            self._greet()
            for worker in self._workers:
                group.create_task(self._keep(worker))
            if self._front is not None:
                group.create_task(self._keep_front(self._front))

    async def _start_workers(self) -> None:
        """Start all workers side by side.

        Raises:
            StartFailed: one did not come up; its app is named.
        """
        total = len(self._workers)
        began = time.monotonic()
        apps = ", ".join(self._settings.apps)
        with self._output.progress(f"Starting {total} worker{'s' * (total > 1)} of {apps}") as progress:
            starts = [asyncio.create_task(self._fill(worker)) for worker in self._workers]
            try:
                for done, start in enumerate(asyncio.as_completed(starts), 1):
                    await start
                    progress.update(f"{done} of {total} workers ready")
            finally:
                for task in starts:
                    task.cancel()
                await asyncio.gather(*starts, return_exceptions=True)
        self._output.event(f"{total} of {total} workers ready after {time.monotonic() - began:.1f} s")

    async def _fill(self, worker: Worker) -> None:
        """Start a new incarnation for a slot, and let it serve once it answers."""
        incarnation = await Incarnation.start(
            worker.name,
            worker.app,
            self._folder,
            self._run_dir,
            STOP_TIMEOUT,
            lambda line: self._output.relay(worker.name, line),
        )
        worker.current = incarnation
        try:
            await incarnation.ready(worker.app.start_timeout)
        except StartFailed as failure:
            failure.text = f"App {worker.app_name}: {failure.text}"
            raise
        self._run_dir.link(incarnation.name)

    async def _keep(self, worker: Worker) -> None:
        """Fill a slot again whenever its process has ended."""
        backoff = processes.Backoff()
        while True:
            incarnation = worker.current
            assert incarnation is not None
            code = await incarnation.end()
            if incarnation.ready_at is not None:
                self._output.problem(f"{worker.name} (pid {incarnation.pid}) {processes.how_it_ended(code)}")
            delay = backoff.delay(incarnation.served)
            if delay:
                self._output.event(f"{worker.name} is started again in {delay:g} s")
                await asyncio.sleep(delay)
            try:
                await self._fill(worker)
            except StartFailed as failure:
                for line in failure.traceback.splitlines():
                    self._output.relay(worker.name, line)
                self._output.problem(str(failure))
            else:
                assert worker.current is not None
                self._output.event(f"{worker.name} is back (pid {worker.current.pid})")

    async def _start_front(self) -> None:
        """Start nginx, or take over the one that serves this configuration already."""
        if self._front is None:
            return
        if self._front.find():
            self._front.reload()
            self._output.event(f"nginx runs already (pid {self._front.pid}); it has read its configuration again")
        else:
            await self._front.start()

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

    async def _retire(self, leftover: Leftover) -> None:
        """Let a worker of an earlier launcher leave, now that its slot is filled anew."""
        self._output.event(f"{leftover.incarnation} (pid {leftover.pid}) of an earlier launcher leaves")
        await processes.end(leftover.pid, STOP_TIMEOUT + STOP_MARGIN)
        self._run_dir.remove(leftover.incarnation)

    def _greet(self) -> None:
        """Say where the apps are, and show the workers."""
        base = url(self._settings.listen[0])
        for app_name, app in self._settings.apps.items():
            self._output.event(f"{app_name} is at {base}{app.path}")
        if self._front is None:
            self._output.event(f'nginx is yours to start: nginx -p "$PWD" -c {self._settings.nginx.conf}')
        if os.geteuid() == 0 and not self._run_dir.owner.switches:
            self._output.problem("nginx and the workers run as root. Set `user` to run them as somebody else.")
        rows = [
            [worker.name, str(worker.current.pid), str(self._run_dir.path / f"{worker.name}.sock")]
            for worker in self._workers
            if worker.current is not None
        ]
        if self._front is not None:
            rows.append(["nginx", str(self._front.pid), ", ".join(self._settings.listen)])
        self._output.table(["worker", "pid", "socket"], rows)

    async def _stop_all(self, front: bool = True) -> None:
        """Stop nginx and all workers: in order, or at once after a second signal.

        Args:
            front: whether nginx stops too.
        """
        nginx = self._front if front and self._front is not None and self._front.pid else None
        if nginx is not None:
            nginx.quit()
        alive = [
            worker.current for worker in self._workers if worker.current is not None and worker.current.code is None
        ]
        for incarnation in alive:
            incarnation.terminate()

        all_ended = asyncio.create_task(_all_ended(alive, nginx))
        at_once = asyncio.create_task(self._at_once.wait())
        await asyncio.wait(
            {all_ended, at_once}, timeout=STOP_TIMEOUT + STOP_MARGIN, return_when=asyncio.FIRST_COMPLETED
        )
        at_once.cancel()
        for incarnation in alive:
            incarnation.kill()
        if nginx is not None:
            nginx.kill()
        await all_ended
        if front:
            self._run_dir.remove_links(keep=set())


async def _all_ended(incarnations: list[Incarnation], nginx: Front | None) -> None:
    for incarnation in incarnations:
        await incarnation.end()
    if nginx is not None:
        await nginx.ended()


def url(address: str) -> str:
    """The URL by which a browser on this machine reaches a listen address."""
    host, _, port = address.rpartition(":")
    here = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{here}" + ("" if port == "80" else f":{port}")
