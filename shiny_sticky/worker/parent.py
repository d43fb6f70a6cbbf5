"""A process that has imported an app once, and forks its workers."""

from __future__ import annotations

import atexit
import errno
import fcntl
import gc
import io
import json
import os
import select
import signal
import sys
import warnings
from contextlib import suppress

from . import afresh, forkable
from .launcher import Launcher

# A worker's, as arguments. A request brings them along in this order, behind what the fork is to print to.
DESCRIPTORS = ("listen-fd", "control-fd", "output-fd", "log-fd", "pid-fd")


class Parent:
    """What a parent is from before the app is imported: it forks one worker after another, when the launcher asks.

    Args:
        name: such as ``app-k3f9``.
        launcher: is told what becomes of the forks.
        pid_file: a descriptor that forks have no business with.
    """

    def __init__(self, name: str, launcher: Launcher, pid_file: int) -> None:
        self._name = name
        self._launcher = launcher
        self._descriptors = [pid_file]
        self._children: set[int] = set()
        self._wanted = True  # until the launcher has another, or has ended
        self._handlers: afresh.Handlers = {}
        self._received = b""
        self._opened_before = forkable.open_descriptors()
        # Collecting garbage during the import would find next to none, and scatter what is left over more memory.
        self._threshold = gc.get_threshold()
        gc.set_threshold(0)
        self._end_with_the_launcher(True)

    def why_not(self) -> str:
        """Why this process must not be forked, now that the app is imported; empty if it may."""
        return forkable.why_not(self._opened_before)

    def end_unforked(self) -> None:
        """End this process, whatever threads it has."""
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)

    def run(self) -> list[str] | None:
        """Fork a worker whenever the launcher asks for one, until it wants no more and all have ended.

        Returns:
            In each fork: the arguments that it is to go on with. In this process itself, at its end: None.
        """
        self._end_with_the_launcher(False)
        afresh.take_name(self._name)
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
        self._poll.register(self._launcher.descriptor, select.POLLIN)
        self._launcher.tell("ready")
        while self._wanted or self._children:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._launcher.descriptor:
                    arguments = self._listen()
                    if arguments is not None:
                        return arguments
                elif descriptor == woken:
                    os.read(woken, 4096)
                elif not self._launcher.keep_output():
                    self._poll.unregister(descriptor)
            self._reap()
        return None

    def _prepare(self) -> None:
        """Put memory into the state that forks can share for longest."""
        for each in gc.get_objects():  # or each fork would write what is still in their buffers
            if type(each) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
                with suppress(OSError, ValueError):
                    each.flush()
        gc.collect()
        gc.freeze()

    def _end_with_the_launcher(self, yes: bool) -> None:
        """Whether this process, busy with the import, is ended by the system (SIGIO) if the launcher ends."""
        descriptor = self._launcher.descriptor
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC if yes else flags & ~os.O_ASYNC)

    def _listen(self) -> list[str] | None:
        """Do what the launcher asks for; gives what :meth:`run` does."""
        data, descriptors = self._launcher.receive(1 + len(DESCRIPTORS))
        self._received += data
        if not data or self._launcher.gone:  # a fork would have nobody who knows it
            for descriptor in descriptors:
                os.close(descriptor)
            self._wanted = False
            self._poll.unregister(self._launcher.descriptor)
            self._poll.register(self._launcher.take_output(), select.POLLIN)
            return None
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if asked["do"] == "retire":
                self._wanted = False
            elif self._fork(asked["name"], descriptors):
                return self._become(asked["name"], asked["arguments"], descriptors)
        return None

    def _fork(self, name: str, descriptors: list[int]) -> bool:
        """Fork, and tell the launcher of it.

        Returns:
            Whether this is the fork.
        """
        try:
            if len(descriptors) <= len(DESCRIPTORS):  # the system did not hand over all
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            with warnings.catch_warnings():
                # From 3.12 on Python warns of any other thread. There are none but such as can bear it.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            self._launcher.tell("refused", name=name, text=f"cannot be forked: {error.strerror}")
        else:
            if not pid:
                return True
            self._children.add(pid)
            self._launcher.tell("forked", name=name, pid=pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return False

    def _become(self, name: str, arguments: list[str], descriptors: list[int]) -> list[str]:
        """Let this fork be a worker that might as well have been spawned; gives all its arguments."""
        given = {what: descriptors[index] for index, what in enumerate(DESCRIPTORS, 1)}
        afresh.own_output(descriptors[0])
        afresh.own_exit_handlers()
        os.setsid()
        with suppress(OSError):  # the disk is full; the launcher says so
            os.pwrite(given["pid-fd"], f"{os.getpid()}\n".encode(), 0)
        afresh.own_signals(self._handlers)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._launcher.leave()
        os.environ["STICKY_WORKER"] = name.split(".")[0]
        os.environ["STICKY_INCARNATION"] = name
        afresh.take_name(name)
        afresh.own_random_state()
        if gc.get_threshold()[0] == 0:  # else the app has chosen its own
            gc.set_threshold(*self._threshold)
        return arguments + [f"--{what}={descriptor}" for what, descriptor in given.items()]

    def _reap(self) -> None:
        """Tell the launcher which forks have ended, and how."""
        for child in list(self._children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self._children.remove(pid)
                signalled = os.WIFSIGNALED(status)
                code = -os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
                self._launcher.tell("ended", pid=pid, code=code)
