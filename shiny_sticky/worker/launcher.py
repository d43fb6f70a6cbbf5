"""The other end: the launcher that started this process, and may die before it."""

from __future__ import annotations

import json
import os
import socket
import threading


class Launcher:
    """The process that started this one, at the other end of a socket; it may die, and the worker goes on.

    Args:
        control: says when the worker is ready or why it is not; its end is the launcher's.
        output: the pipe that standard output goes to, for reading. Held open here, it saves a worker whose
            launcher has died from writing into a broken pipe.
        log: a file that takes standard output from then on.
    """

    def __init__(self, control: int, output: int, log: int) -> None:
        self._control = socket.socket(fileno=control)
        self._output = output
        self._log = log

    def watch(self) -> None:
        """Begin to wait for the launcher's end, in a thread."""
        threading.Thread(target=self._outlive, name="sticky-launcher", daemon=True).start()

    def tell(self, event: str, **details: object) -> None:
        """Send the launcher one line of JSON; nothing happens if it is gone."""
        try:
            self._control.sendall(json.dumps({"event": event, **details}).encode() + b"\n")
        except OSError:
            pass

    def beat(self, **state: object) -> None:
        """Send the launcher a sign of life; dropped rather than waited for, if it does not read."""
        try:
            self._control.send(json.dumps({"event": "beat", **state}).encode() + b"\n", socket.MSG_DONTWAIT)
        except OSError:
            pass

    def _outlive(self) -> None:
        try:
            while self._control.recv(4096):
                pass
        except OSError:
            pass
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        os.set_blocking(self._output, True)
        while text := os.read(self._output, 65536):  # what the launcher had not read any more
            os.write(self._log, text)
