"""The control channel: the socket on which a process and its launcher speak. The launcher may die first."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .inbox import Inbox
from .options import Descriptors, WorkerOptions
from .output_pipe import OutputPipe, append, limit
from .protocol import ProtocolError, decode, encode

# Apps may restore SIGPIPE's default action; a dead launcher must not end the process by it.
QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)

# The exit code of a worker whose launcher has ended, or has given it up, before it was ready.
LAUNCHER_GONE = 4

# Milliseconds between two looks at the output: while the launcher reads it, and while it does not.
LOOK, LOOK_AGAIN = 1000, 100


class ControlChannel:
    """A process's end of the socket to its launcher; once the launcher is gone, output goes to the log instead.

    Args:
        descriptors: from the launcher.

    Attributes:
        on_message: takes what the launcher says to a worker, or a later one, in a thread of its own.
    """

    def __init__(self, descriptors: Descriptors) -> None:
        self.on_message: Callable[[object], object] = lambda _: None
        self._control = socket.socket(fileno=descriptors.control)
        self._outputs = (descriptors.output, descriptors.errors)
        self._log = descriptors.log
        self._half_sent = b""
        self._half_heard = b""

    @classmethod
    def of(cls, options: WorkerOptions) -> ControlChannel:
        """The channel of this process, by what it was told; programs that the app starts inherit no part of it.

        By the lock on its pid file a later launcher finds this process, and nobody but the kernel can tell whose
        it is.
        """
        assert options.descriptors is not None
        for descriptor in options.descriptors.all():
            os.set_inheritable(descriptor, False)
        with suppress(OSError):  # a file system without locks
            fcntl.lockf(options.descriptors.pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(options.descriptors)

    def watch(self, log_size: int, inbox: str) -> None:
        """Begin to wait for the launcher's end, in a thread; until then a launcher that is stopped keeps nobody.

        Should it have ended by now, so does this process: whoever looked for what that has left may have come
        before the lock of the pid file, and would not know of it.

        Args:
            log_size: bytes that the log may have while there is no launcher to rotate it; 0 is no limit.
            inbox: the file in which later launchers leave messages.
        """
        if self.launcher_gone:
            os._exit(LAUNCHER_GONE)
        threading.Thread(
            target=self._outlive_launcher, args=(log_size, Inbox(Path(inbox))), name="sticky-launcher", daemon=True
        ).start()

    def tell(self, message: object) -> None:
        """Send the launcher a message of :mod:`.protocol`; nothing happens if it is gone."""
        try:
            self._control.sendall(encode(message), QUIETLY)
        except OSError:
            pass

    def tell_now(self, message: object) -> None:
        """Send the launcher a message, or drop it if the launcher does not read; half of one is completed first."""
        line = self._half_sent or encode(message)
        try:
            sent = self._control.send(line, socket.MSG_DONTWAIT | QUIETLY)
        except OSError:
            return
        self._half_sent = line[sent:]

    def _outlive_launcher(self, log_size: int, inbox: Inbox) -> None:
        pipes = [OutputPipe(1, self._outputs[0], self._log), OutputPipe(2, self._outputs[1], self._log)]
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while not poll.poll(LOOK_AGAIN if any(pipe.diverted for pipe in pipes) else LOOK) or self._take_messages():
            for pipe in pipes:
                pipe.look(self._control.fileno())
            if any(pipe.diverted for pipe in pipes):
                limit(self._log, log_size)
        for pipe in pipes:
            pipe.close()
        self._half_heard = b""
        self._keep_output(log_size, inbox)

    def _take_messages(self) -> bool:
        """Hand on what the launcher has said; gives whether it is there still."""
        data, _ = self.receive(0)
        self._hand_on(data)
        return bool(data)

    def _hand_on(self, data: bytes) -> None:
        """Hand on each message that is complete by now."""
        *lines, self._half_heard = (self._half_heard + data).split(b"\n")
        for line in lines:
            # Half of it was lost while this process was stopped, or the event loop has ended.
            with suppress(ProtocolError, RuntimeError):
                self.on_message(decode(line))

    def _keep_output(self, log_size: int, inbox: Inbox) -> None:
        """Write to the log what the launcher, which is gone, has not read, and what programs of the app print.

        And hear what later launchers have to say.
        """
        poll = select.poll()
        for descriptor in self.redirect_output():
            os.set_blocking(descriptor, True)
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll(LOOK):
                if not self.drain_output(descriptor):
                    poll.unregister(descriptor)
            limit(self._log, log_size)
            self._hand_on(inbox.read())

    # --- for a process that must not have threads

    @property
    def descriptor(self) -> int:
        """To poll: it is readable when the launcher asks for something, or has ended."""
        return self._control.fileno()

    @property
    def launcher_gone(self) -> bool:
        """Whether the launcher has ended, and nothing of it is left to be read."""
        try:
            return not self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def receive(self, most: int) -> tuple[bytes, list[int]]:
        """Read what the launcher has sent; nothing means that it has ended.

        Args:
            most: how many descriptors may come along.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, most)
        except OSError:
            return b"", []
        return data, descriptors

    def redirect_output(self) -> tuple[int, int]:
        """Let standard output and error go to the log, now that the launcher is gone.

        Returns:
            The descriptors that tell when :meth:`drain_output` has something to do.
        """
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        return self._outputs

    def drain_output(self, descriptor: int) -> bool:
        """Move output to the log that the launcher has not read, or that a program of the app's still writes.

        Args:
            descriptor: one of those that :meth:`redirect_output` gave.

        Returns:
            Whether there may be more.
        """
        text = os.read(descriptor, 65536)
        append(self._log, text)
        return bool(text)

    def close(self) -> None:
        """Close this end, in a fork that has a channel of its own."""
        self._control.close()
        for descriptor in (*self._outputs, self._log):
            os.close(descriptor)
