"""A service manager that only listens: the socket that NOTIFY_SOCKET names, and what is said to it."""

from __future__ import annotations

import contextlib
import socket
import threading

from support.real_site import LAUNCHER, Site, until

# systemd sets WATCHDOG_PID for the process that it starts, which only then has a pid.
WATCHED = ["/bin/sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *LAUNCHER]


class Listener:
    """Reads what a site's launcher says.

    Args:
        site: not started yet; its environment names the socket from now on.
        address: of the socket; an @ in front stands for the NUL of an abstract one.
    """

    def __init__(self, site: Site, address: str) -> None:
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        site.env |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while message := self._socket.recv(4096):
                self.messages.append(dict(line.split("=", 1) for line in message.decode().splitlines()))

    def told(self, key: str) -> list[str]:
        """Every value that was told of a key, the latest last."""
        return [message[key] for message in self.messages if key in message]

    def hears(self, key: str, value: str, after: int = 0) -> dict[str, str]:
        """Wait for a message; gives it.

        Args:
            key: what is told.
            value: which value it is to have.
            after: how many messages are too early to count.
        """
        found: list[dict[str, str]] = until(
            lambda: [message for message in self.messages[after:] if message.get(key) == value], f"{key}={value}"
        )
        return found[0]

    def close(self) -> None:
        self._socket.close()
