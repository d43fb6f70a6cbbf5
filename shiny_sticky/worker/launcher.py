"""The other end: the launcher that started this process, and may die before it."""

from __future__ import annotations

import json
import os
import socket
import threading

# An app may have undone that Python ignores SIGPIPE; a dead launcher must not be the end of us.
QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)


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
            self._control.sendall(json.dumps({"event": event, **details}).encode() + b"\n", QUIETLY)
        except OSError:
            pass

    def beat(self, **state: object) -> None:
        """Send the launcher a sign of life; dropped rather than waited for, if it does not read."""
        try:
            line = json.dumps({"event": "beat", **state}).encode() + b"\n"
            self._control.send(line, socket.MSG_DONTWAIT | QUIETLY)
        except OSError:
            pass

    def _outlive(self) -> None:
        try:
            while self._control.recv(4096):
                pass
        except OSError:
            pass
        output = self.take_output()
        os.set_blocking(output, True)
        while self.keep_output():
            pass

    # --- for a process that must not have threads

    @property
    def descriptor(self) -> int:
        """What can be read when the launcher asks for something, or has ended."""
        return self._control.fileno()

    @property
    def gone(self) -> bool:
        """Whether the launcher has ended, and nothing of it is left to be read."""
        try:
            return not self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def receive(self, most: int) -> tuple[bytes, list[int]]:
        """What the launcher has sent; nothing at its end.

        Args:
            most: descriptors that may come along.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, most)
        except OSError:
            return b"", []
        return data, descriptors

    def take_output(self) -> int:
        """Let standard output go to the log, now that the launcher is gone.

        Returns:
            The descriptor that tells when :meth:`keep_output` has something to do.
        """
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        return self._output

    def keep_output(self) -> bool:
        """Put into the log what the launcher had not read any more, or what a program of the app's still writes.

        Returns:
            Whether there may be more.
        """
        text = os.read(self._output, 65536)
        os.write(self._log, text)
        return bool(text)

    def leave(self) -> None:
        """Close this end."""
        self._control.close()
        os.close(self._output)
        os.close(self._log)
