"""A process that has imported an app once, and forks its workers."""

from __future__ import annotations

import atexit
import errno
import fcntl
import gc
import io
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import NoReturn

from . import after_fork, forkable, shutdown_callbacks
from .control_channel import ControlChannel
from .options import Descriptors, WorkerOptions
from .protocol import Ended, Fork, Forked, Proven, Ready, Refused, Retire, Unforkable, decode

# A request to fork brings along: standard output, standard error, and a worker's descriptors.
FORK_DESCRIPTORS = 2 + len(fields(Descriptors))


class ForkServer:
    """A process that imports an app, then forks a worker at each request of the launcher. Made before the import.

    Args:
        options: its own, with its descriptors.

    Attributes:
        channel: the launcher is told on it what becomes of the import and the forks; in a fork that one's own.
        options: what this process is to do: in a fork, what a worker does.
        proven: whether a fork of the app has answered before.
    """

    def __init__(self, options: WorkerOptions) -> None:
        assert options.descriptors is not None
        self.options = options
        self.channel = ControlChannel.of(options)
        self._descriptors = [options.descriptors.pid_file]  # which forks close
        self.proven = False
        self._children: set[int] = set()
        self._wanted = True  # until the launcher has another, or has ended
        self._handlers: after_fork.Handlers = {}
        self._received = b""
        self._opened_before = forkable.open_descriptors()
        # Collecting garbage during the import would find next to none, and scatter what is left over more memory.
        self._threshold = gc.get_threshold()
        gc.set_threshold(0)
        self._end_with_launcher(True)

    @property
    def is_fork(self) -> bool:
        """Whether this process is one of the forks."""
        return not self.options.forks

    def tell(self, message: object) -> None:
        """Tell the launcher something of this process, be it a fork by now or not."""
        self.channel.tell(message)

    def blockers(self) -> list[forkable.Blocker]:
        """Why this process must not be forked, after what was imported; empty if it may."""
        return forkable.blockers(self._opened_before)

    def refuse(self, reason: str) -> NoReturn:
        """End this process, which must not be forked, whatever threads it has.

        Args:
            reason: what the app does, to stand behind "because it".
        """
        self.tell(Unforkable(reason))
        shutdown_callbacks.run()
        self.exit()

    def exit(self) -> NoReturn:
        """End this process, whatever threads it has, from wherever it is."""
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)

    def run(self, ready: Ready, on_proven: Callable[[], None]) -> bool:
        """Fork a worker whenever the launcher asks for one, until it wants no more and all have ended.

        Args:
            ready: what the launcher is told of the import.
            on_proven: called when the first fork answers.

        Returns:
            Whether this is a fork; else it is this process itself, at its end.
        """
        self._load_for_forks(ready)
        self._end_with_launcher(False)
        after_fork.take_name(self.options.name)
        self._prepare()
        woken, wake = os.pipe()
        self._descriptors += [woken, wake]
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        for number in (signal.SIGTERM, signal.SIGINT):  # it ends when its last fork has
            self._handlers[number] = signal.signal(number, signal.SIG_IGN)
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)

        self._poll = select.poll()
        self._poll.register(woken, select.POLLIN)
        self._poll.register(self.channel.descriptor, select.POLLIN)
        self._on_proven = on_proven
        self.proven = ready.proven
        self.tell(ready)
        while self._wanted or self._children:
            for descriptor, _ in self._poll.poll():
                if descriptor == self.channel.descriptor:
                    if self._listen():
                        return True
                elif descriptor == woken:
                    os.read(woken, 4096)
                elif not self.channel.drain_output(descriptor):
                    self._poll.unregister(descriptor)
            self._reap()
        return False

    def _load_for_forks(self, ready: Ready) -> None:
        """Do once what each fork would do for itself."""
        from .server import load_server

        load_server()
        if self.options.isolated and not ready.left:  # else the app's import is not over yet
            from .rehearsal import rehearse

            rehearse()

    def _prepare(self) -> None:
        """Put memory into the state that forks can share for longest."""
        for each in gc.get_objects():  # or each fork would write what is still in their buffers
            if type(each) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
                with suppress(OSError, ValueError):
                    each.flush()
        gc.collect()
        gc.freeze()

    def _end_with_launcher(self, yes: bool) -> None:
        """Whether this process, busy with the import, is ended by the system (SIGIO) if the launcher ends."""
        descriptor = self.channel.descriptor
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC if yes else flags & ~os.O_ASYNC)

    def _listen(self) -> bool:
        """Do what the launcher asks for; gives whether this is a fork."""
        data, descriptors = self.channel.receive(FORK_DESCRIPTORS)
        self._received += data
        if not data or self.channel.launcher_gone:  # nobody would supervise a new fork
            for descriptor in descriptors:
                os.close(descriptor)
            self._wanted = False
            self._poll.unregister(self.channel.descriptor)
            for output in self.channel.redirect_output():
                self._poll.register(output, select.POLLIN)
            return False
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            asked = decode(line)
            if isinstance(asked, Retire):
                self._wanted = False
            elif isinstance(asked, Proven):
                self.proven = True
                self._on_proven()
            elif isinstance(asked, Fork):
                options = WorkerOptions.from_json(asked.options)
                if self._fork(options.name, descriptors):
                    self._become(options, descriptors)
                    return True
        return False

    def _fork(self, name: str, descriptors: list[int]) -> bool:
        """Fork, and tell the launcher of it.

        Returns:
            Whether this is the fork.
        """
        try:
            if len(descriptors) < FORK_DESCRIPTORS:  # the system did not hand over all
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            with warnings.catch_warnings():
                # Python 3.12 warns of threads; `forkable` has ruled out the harmful ones.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            self.tell(Refused(name, f"cannot be forked: {error.strerror}"))
        else:
            if not pid:
                return True
            self._children.add(pid)
            self.tell(Forked(name, pid))
        for descriptor in descriptors:
            os.close(descriptor)
        return False

    def _become(self, options: WorkerOptions, descriptors: list[int]) -> None:
        """Let this fork be a worker that might as well have been spawned."""
        given = Descriptors(*descriptors[2:])
        after_fork.own_output(*descriptors[:2])
        after_fork.own_exit_handlers()
        os.setsid()
        with suppress(OSError):  # the disk is full; the launcher says so
            os.pwrite(given.pid_file, f"{os.getpid()}\n".encode(), 0)
        after_fork.own_signals(self._handlers)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self.channel.close()
        os.environ["STICKY_WORKER"] = options.name.partition(".")[0]
        os.environ["STICKY_INCARNATION"] = options.name
        after_fork.take_name(options.name)
        after_fork.own_random_state()
        if gc.get_threshold()[0] == 0:  # else the app has chosen its own
            gc.set_threshold(*self._threshold)
        self.options = replace(options, descriptors=given)
        self.channel = ControlChannel.of(self.options)
        self.channel.watch(self.options.log_size, self.options.inbox)

    def _reap(self) -> None:
        """Tell the launcher which forks have ended, and how."""
        for child in list(self._children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self._children.remove(pid)
                signalled = os.WIFSIGNALED(status)
                code = -os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
                self.tell(Ended(pid, code))
