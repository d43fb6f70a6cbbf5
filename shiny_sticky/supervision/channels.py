"""The open files that connect the launcher with a process that is about to be started."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from shiny_sticky.processes import Pipes
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.options import Descriptors


@dataclass(frozen=True)
class Channels:
    """Both ends of everything between the launcher and a process. Made by :meth:`open`.

    Attributes:
        stdout: what its standard output goes to.
        stderr: what its standard error goes to.
        descriptors: what it gets beside these.
        pipes: the ends that stay here.
    """

    stdout: int
    stderr: int
    descriptors: Descriptors
    pipes: Pipes

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, run_dir: RunDir, name: str, *, listens: bool, listener: socket.socket | None = None
    ) -> Iterator[Channels]:
        """Open everything; afterwards the process's ends are closed here, and ours as well if its start has failed.

        Args:
            run_dir: where its socket and pid file go.
            name: of the incarnation or fork server.
            listens: whether it has a socket to serve on.
            listener: that socket, if it is there already; else it is made.

        Raises:
            OSError: too few descriptors, or the disk is full.
        """
        with contextlib.ExitStack() as of_process, contextlib.ExitStack() as ours:

            def handed_over(descriptor: int) -> int:
                of_process.callback(os.close, descriptor)
                return descriptor

            def pipe() -> tuple[int, int]:
                reading, writing = os.pipe()
                ours.callback(os.close, reading)
                return reading, handed_over(writing)

            ours.callback(run_dir.give_up, name)  # once its end of the channel is closed
            if listens:
                listener = of_process.enter_context(listener or run_dir.bind(name))
            pid_file = handed_over(run_dir.open_pid_file(name))
            log = handed_over(run_dir.open_log())
            control, its_control = socket.socketpair()
            ours.callback(control.close)
            of_process.enter_context(its_control)
            output, stdout = pipe()
            errors, stderr = pipe()
            yield cls(
                stdout=stdout,
                stderr=stderr,
                descriptors=Descriptors(
                    control=its_control.fileno(),
                    output=output,
                    errors=errors,
                    log=log,
                    pid_file=pid_file,
                    listen=None if listener is None else listener.fileno(),
                ),
                pipes=Pipes(control, output, errors),
            )
            ours.pop_all()  # they are the process's handle's now
