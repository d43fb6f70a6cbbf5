"""What a command sends over the network: counted, never more than was said before, and ended at once when asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

from shiny_sticky.client.address import Address

# Seconds for the beginning of a connection, and for each answer.
CONNECT_SECONDS = 10
ANSWER_SECONDS = 30


class Stopped(Exception):
    """The command has been stopped, or has sent as much as it said it would; nothing more is sent."""


class Traffic:
    """All connections of one run of a command. Threads share it.

    Args:
        requests: how many may be made by HTTP; None is any number.
        websockets: how many may be opened, or tried; None is any number.

    Attributes:
        requests: how many have been made.
        websockets: how many have been opened, or tried.
    """

    def __init__(self, requests: int | None = None, websockets: int | None = None) -> None:
        self.requests = 0
        self.websockets = 0
        self._most_requests = requests
        self._most_websockets = websockets
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_stopped = False
        self._context: ssl.SSLContext | None = None

    def count_request(self) -> None:
        """Count a request that is about to be made.

        Raises:
            Stopped: it is one too many.
        """
        with self._lock:
            if self._is_stopped or self.requests == self._most_requests:
                raise Stopped
            self.requests += 1

    def count_websocket(self) -> None:
        """Count a websocket that is about to be opened.

        Raises:
            Stopped: it is one too many.
        """
        with self._lock:
            if self._is_stopped or self.websockets == self._most_websockets:
                raise Stopped
            self.websockets += 1

    def connect(self, address: Address) -> socket.socket:
        """Connect with a host.

        Raises:
            Stopped: nothing more is sent.
            OSError: nobody answers, or not with a certificate that is good for this host.
        """
        connection = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.is_encrypted:
                connection = self._encrypted(connection, address.host)
            connection.settimeout(ANSWER_SECONDS)
            with self._lock:
                if self._is_stopped:
                    raise Stopped
                self._open.add(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _encrypted(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
        return self._context.wrap_socket(connection, server_hostname=host)

    def close(self, connection: socket.socket) -> None:
        """Close a connection; whoever waits for something to come from it is told."""
        with self._lock:
            self._open.discard(connection)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def stop(self) -> None:
        """Send nothing more, and cut all that is open: whoever waits for an answer waits no longer."""
        with self._lock:
            self._is_stopped = True
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
