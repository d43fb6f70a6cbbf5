"""Socket activation: the socket of a worker that sleeps is open, and the first who connects has a process started.

That process gets the very socket: who has connected meanwhile has waited in the kernel, and nothing is handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from shiny_sticky.supervision.rundir import RunDir

# Connections that may wait; the system may allow fewer (net.core.somaxconn).
BACKLOG = 2048


class ActivationSocket:
    """A socket that the next process of a worker is going to serve on.

    Args:
        run_dir: where it is.
        worker: the slot, such as ``app2``.
        on_connect: called once, when somebody has connected.

    Raises:
        OSError: too few descriptors, or the disk is full.

    Attributes:
        name: that of the process to be, ``app2.k3f9``.
        worker: the slot.
        listener: the socket; the process gets a copy.
    """

    def __init__(self, run_dir: RunDir, worker: str, on_connect: Callable[[], None]) -> None:
        self.name = run_dir.new_incarnation(worker)
        self.worker = worker
        self._run_dir = run_dir
        self._on_connect = on_connect
        self.listener = run_dir.bind(self.name)
        self.listener.setblocking(False)
        self.listener.listen(BACKLOG)
        self.wait()

    def wait(self) -> None:
        """Leave who connects waiting, and tell of the first one."""
        asyncio.get_running_loop().add_reader(self.listener, self._connected)

    def _connected(self) -> None:
        asyncio.get_running_loop().remove_reader(self.listener)
        self._on_connect()

    def answer(self, on_accept: Callable[[socket.socket], None]) -> None:
        """Accept here who waits, and who comes from now on, for as long as no process does.

        Args:
            on_accept: takes each connection.
        """

        def accept() -> None:
            with contextlib.suppress(OSError):  # nobody is left, or no descriptor
                while True:
                    connection, _ = self.listener.accept()
                    connection.setblocking(False)
                    on_accept(connection)

        accept()
        asyncio.get_running_loop().add_reader(self.listener, accept)

    def hand_over(self) -> None:
        """Leave the socket to the process that serves on it now."""
        asyncio.get_running_loop().remove_reader(self.listener)
        self.listener.close()

    def close(self) -> None:
        """Close and remove it; no process serves on it, and whoever waits is refused."""
        self.hand_over()
        self._run_dir.remove(self.name)
