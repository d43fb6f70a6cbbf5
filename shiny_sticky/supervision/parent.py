"""Where the processes of an app come from: forked off a parent that has imported it, or each spawned."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from shiny_sticky import processes, resources
from shiny_sticky.errors import StartFailed
from shiny_sticky.output import Output
from shiny_sticky.processes import Attended, Process
from shiny_sticky.settings import names
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker import protocol
from shiny_sticky.worker.options import Descriptors, WorkerOptions
from shiny_sticky.worker.protocol import encode

# What a parent gets to end when its app is not to be forked, or was imported too slowly.
END_SECONDS = 4

# And to tell how a fork has ended.
TELLING_SECONDS = 1


class Parent:
    """The processes of an app, as it was at one deploy: forked off a parent process if it may be, else spawned.

    The parent process is started when it is first needed, and anew should it be killed. It outlives its forks.

    Args:
        app_name: the app's.
        app: its settings.
        folder: the settings file's; module:attribute targets are looked up there.
        run_dir: where its pid file goes.
        output: where to say what happens.

    Attributes:
        turn: held while a process is started; so no more than one has its descriptors open here.
    """

    def __init__(self, app_name: str, app: AppSettings, folder: Path, run_dir: RunDir, output: Output) -> None:
        self.app_name = app_name
        self.app = app
        self.turn = asyncio.Lock()
        # macOS has fork, but its frameworks do not survive it.
        self._forks = app.preload and sys.platform == "linux"
        self._folder = folder
        self._run_dir = run_dir
        self._output = output
        self._starting: asyncio.Task[None] | None = None
        self._importer: _Importer | None = None
        self._retired = False

    @property
    def pid(self) -> int | None:
        """The parent process; None if there is none."""
        return self._importer.pid if self._importer is not None and self._importer.alive else None

    @property
    def ended(self) -> bool:
        """Whether there is no parent process, nor is one being started."""
        return self.pid is None and (self._starting is None or self._starting.done())

    async def ready(self) -> None:
        """Wait until processes can be had: the app is imported, if they are to be forks.

        Raises:
            StartFailed: it cannot be imported, or not in time (start_timeout).
        """
        if not self._forks or self.pid is not None:
            return
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start(), name=f"start of the parent of {self.app_name}")
            self._starting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._starting)

    async def start(self, options: WorkerOptions, descriptors: Descriptors, stdout: int, stderr: int) -> Process:
        """Start a process.

        Args:
            options: the worker's.
            descriptors: what it gets along.
            stdout: what its standard output goes to.
            stderr: what its standard error goes to.

        Raises:
            StartFailed: that is not possible.
            OSError: nor is it, for want of descriptors, memory or processes.
        """
        for _ in range(2):
            await self.ready()
            if not self._forks:
                environment = {"STICKY_WORKER": names.worker_of(options.name), "STICKY_INCARNATION": options.name}
                return await spawn(
                    self.app,
                    self._folder,
                    self._run_dir,
                    replace(options, descriptors=descriptors),
                    stdout,
                    stderr,
                    environment,
                )
            assert self._importer is not None
            try:
                return await self._importer.fork(
                    options, [stdout, stderr, *descriptors.all()], self.app.start_timeout
                )
            except _Gone:
                await self._importer.end()
        raise StartFailed("the process that has imported the app ends whenever it is to be forked.")

    def retire(self) -> None:
        """Fork nothing more: the parent process ends with the last of its forks."""
        self._retired = True
        if self._starting is not None:
            self._starting.cancel()
        if self._importer is not None:
            self._importer.retire()

    def kill(self) -> None:
        """End the parent process at once; its forks live on."""
        if self._importer is not None:
            self._importer.kill()

    async def end(self) -> None:
        """Wait for the end of the parent process."""
        if self._starting is not None:
            await asyncio.wait({self._starting})
        if self._importer is not None:
            await self._importer.end()

    async def _start(self) -> None:
        again = self._importer is not None
        importer = await _Importer.start(self.app_name, self.app, self._folder, self._run_dir, self._output)
        try:
            reason = await importer.imported(self.app.start_timeout)
        except BaseException:
            importer.kill()
            await importer.end()
            raise
        if reason:
            self._forks = False
            self._output.event(
                f"App {self.app_name}: each worker imports it anew, because it {reason}. "
                "preload: false says so at once."
            )
            # What it has opened might not be to be had twice.
            if not await importer.ended_within(END_SECONDS):
                importer.kill()
                await importer.end()
            return
        self._importer = importer
        importer.on_end = self._say_end
        if again:
            self._output.event(f"App {self.app_name} is imported anew (pid {importer.pid})")

    def _say_end(self, importer: _Importer) -> None:
        if not self._retired:
            how = processes.how_it_ended(importer.code)
            self._output.problem(
                f"App {self.app_name}: the process that forks its workers (pid {importer.pid}) {how}; "
                "those that it has forked serve on"
            )


class _Gone(Exception):
    """The parent process has ended."""


class _Importer:
    """A parent process: imports an app once, and forks its workers. Made by :meth:`start`.

    Attributes:
        pid: the process.
        on_end: called when it has ended.
    """

    _process: Attended

    def __init__(self, name: str, control: socket.socket, run_dir: RunDir) -> None:
        self.on_end: Callable[[_Importer], None] = lambda _: None
        self._name = name
        self._control = control
        self._run_dir = run_dir
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked: dict[str, asyncio.Future[Fork]] = {}  # by incarnation
        self._forks: dict[int, Fork] = {}  # that have not ended

    @classmethod
    async def start(
        cls, app_name: str, app: AppSettings, folder: Path, run_dir: RunDir, output: Output
    ) -> _Importer:
        """Start the process; it has yet to import the app.

        Raises:
            StartFailed: the interpreter cannot be run.
            OSError: too few descriptors, memory or processes.
        """
        name = run_dir.new_parent(app_name)
        with contextlib.ExitStack() as ours:  # every descriptor that only the process needs

            def hand_over(descriptor: int) -> int:
                ours.callback(os.close, descriptor)
                return descriptor

            pid_file = hand_over(run_dir.open_pid_file(name))
            log = hand_over(run_dir.open_log())
            control, its_control = socket.socketpair()
            ours.enter_context(its_control)
            printed, its_output = os.pipe()
            hand_over(its_output)
            errors, its_errors = os.pipe()
            hand_over(its_errors)
            descriptors = Descriptors(
                control=its_control.fileno(), output=printed, errors=errors, log=log, pid_file=pid_file
            )
            options = WorkerOptions(name=name, target=app.target, forks=True, descriptors=descriptors)
            try:
                process = await spawn(app, folder, run_dir, options, its_output, its_errors, {})
            except BaseException:
                os.close(printed)
                os.close(errors)
                control.close()
                run_dir.remove(name)
                raise
            with contextlib.suppress(OSError):  # the disk is full; the workers' own files tell
                run_dir.note_pid(pid_file, process.pid)
        self = cls(name, control, run_dir)
        self._process = await Attended.of(
            process,
            control,
            printed,
            errors,
            lambda line: output.relay(app_name, line),
            lambda line: output.relay_error(app_name, line),
            self._on_event,
            self._on_end,
        )
        return self

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.alive

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.code

    async def imported(self, timeout: float) -> str:
        """Wait until the app is imported.

        Args:
            timeout: seconds that it may take.

        Returns:
            Why it must not be forked; empty if it may.

        Raises:
            StartFailed: it could not be imported, or took too long; then the process still runs.
        """
        await asyncio.wait({self._outcome}, timeout=timeout)
        if not self._outcome.done():
            raise StartFailed(f"its import was not done within {timeout:g} s (start_timeout) and was stopped.")
        return self._outcome.result()

    async def fork(self, options: WorkerOptions, descriptors: list[int], timeout: float) -> Fork:
        """Fork a worker; :meth:`Parent.start` has the arguments.

        Raises:
            StartFailed: that is not possible.
            _Gone: this process has ended.
        """
        if self._control.fileno() < 0:
            raise _Gone
        name = options.name
        request = encode(protocol.Fork(options.to_json()))
        self._asked[name] = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._control, [request], descriptors)
            return await asyncio.wait_for(self._asked[name], timeout)
        except TimeoutError:
            self.kill()
            raise StartFailed(f"could not be forked within {timeout:g} s (start_timeout).") from None
        except ConnectionError:
            raise _Gone from None
        finally:
            del self._asked[name]

    def retire(self) -> None:
        """Let it end with the last of its forks."""
        with contextlib.suppress(OSError):
            self._control.send(encode(protocol.Retire()))

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)

    async def end(self) -> None:
        """Wait for its end."""
        await self._process.end()

    async def ended_within(self, timeout: float) -> bool:
        """Wait for its end, but not for ever; `timeout` is in seconds."""
        return await self._process.ended_within(timeout)

    def _on_event(self, told: object) -> None:
        match told:
            case protocol.Ready() if not self._outcome.done():
                self._outcome.set_result("")
            case protocol.Unforkable() if not self._outcome.done():
                self._outcome.set_result(told.reason)
            case protocol.Failed() if not self._outcome.done():
                self._outcome.set_exception(StartFailed(told.text, told.traceback))
            case protocol.Forked():
                fork = self._forks[told.pid] = Fork(told.pid)
                asked = self._asked.get(told.name)
                if asked is None or asked.done():  # whoever asked has given up
                    fork.send_signal(signal.SIGKILL)
                else:
                    asked.set_result(fork)
            case protocol.Refused():
                asked = self._asked.get(told.name)
                if asked is not None and not asked.done():
                    asked.set_exception(StartFailed(told.text))
            case protocol.Ended():
                self._forks.pop(told.pid).has_ended(told.code)

    def _on_end(self) -> None:
        self._run_dir.remove(self._name)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(_Gone())
        for fork in self._forks.values():
            fork.lose_parent()
        self._forks.clear()
        if not self._outcome.done():
            how = processes.how_it_ended(self.code)
            self._outcome.set_exception(StartFailed(f"its import {how} before it was done; see its output above."))
        self._outcome.exception()  # nobody need ask for it
        self.on_end(self)


class Fork:
    """A process that a parent has forked: it is the parent's child, not ours.

    Args:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._orphaned = False

    def has_ended(self, code: int) -> None:
        """Its parent says so."""
        if not self._code.done():
            self._code.set_result(code)

    def lose_parent(self) -> None:
        """Nobody will say how it ends."""
        self._orphaned = True

    async def wait(self) -> int | None:
        """Wait for its end.

        Returns:
            The exit code, negative for a signal; None if its parent did not live to know it.
        """
        await processes.gone(self.pid)
        if not self._code.done() and not self._orphaned:
            await asyncio.wait({self._code}, timeout=TELLING_SECONDS)
        if not self._code.done():
            self._code.set_result(None)
        return self._code.result()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self._code.done():
            processes.send(self.pid, number)


async def spawn(
    app: AppSettings,
    folder: Path,
    run_dir: RunDir,
    options: WorkerOptions,
    stdout: int,
    stderr: int,
    environment: dict[str, str],
) -> asyncio.subprocess.Process:
    """Start a process in an app's own interpreter, environment and folder.

    Args:
        app: what it serves.
        folder: the settings file's.
        run_dir: knows whom it runs as.
        options: the worker's or fork server's, with its descriptors.
        stdout: what its standard output goes to.
        stderr: what its standard error goes to.
        environment: variables beside the app's own.

    Raises:
        StartFailed: the interpreter cannot be run.
    """
    owner = run_dir.owner
    command = [
        str(app.python or sys.executable),
        str(resources.path("worker")),
        options.name,
        options.to_json(),
    ]
    assert options.descriptors is not None
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **app.env, **environment},
            cwd=_working_folder(app, folder),
            pass_fds=options.descriptors.all(),
            # Ctrl-C is for the launcher, which ends its workers in order.
            start_new_session=True,
            user=owner.uid if owner.switches else None,
            group=owner.gid if owner.switches else None,
            extra_groups=[] if owner.switches else None,
        )
    except OSError as error:
        name = names.worker_of(options.name)
        raise StartFailed(f"{name} cannot be started with {command[0]}: {error.strerror}") from error


def _working_folder(app: AppSettings, folder: Path) -> Path:
    """The folder an app runs in: a file's own, as on other Shiny hosts; else the settings file's."""
    file = Path(app.target.partition(":")[0])
    return file.parent if file.suffix == ".py" else folder
