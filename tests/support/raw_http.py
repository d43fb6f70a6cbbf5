"""HTTP as it goes over the wire: requests of any bytes, and their answers."""

from __future__ import annotations

import http.client
import io
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """A request as it goes over the wire.

    Attributes:
        line: the first line, without its end.
        headers: the others.
    """

    line: bytes
    headers: tuple[bytes, ...] = ()

    @property
    def raw(self) -> bytes:
        """All its bytes."""
        lines = (self.line, b"Host: here", b"Connection: close", *self.headers, b"", b"")
        return b"\r\n".join(lines)

    def values(self, name: bytes) -> list[bytes]:
        """What the lines of a header say, in order; white space around it is no part of it."""
        split = (line.partition(b":") for line in self.headers)
        return [value.strip(b" \t") for key, _, value in split if key == name]


class _Received:
    """What http.client reads an answer from, in place of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


@dataclass(frozen=True)
class Answer:
    """What came back. HTTP/0.9 has no head: its status is 0."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def parse(cls, raw: bytes, method: str) -> Answer:
        """Read an answer that the end of the connection has ended.

        Raises:
            http.client.HTTPException: it is none, or not whole.
        """
        if not raw.startswith(b"HTTP/"):
            return cls(0, (), raw)
        response = http.client.HTTPResponse(_Received(raw), method=method)  # type: ignore[arg-type]
        response.begin()
        headers = tuple((key.lower(), value) for key, value in response.getheaders())
        return cls(response.status, headers, response.read())

    def values(self, name: str) -> list[str]:
        """What the lines of a header say, in order."""
        return [value for key, value in self.headers if key == name]


def exchange(request: Request, port: int, timeout: float) -> Answer:
    """Send a request on a connection of its own, and read the answer to the connection's end.

    Args:
        request: what to send.
        port: on this machine.
        timeout: seconds for which nothing may come.

    Raises:
        OSError: the connection breaks, or nothing comes.
        http.client.HTTPException: what comes is no answer, or not whole.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request.raw)
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    return Answer.parse(raw, request.line.partition(b" ")[0].decode("latin-1"))
