"""Both directions of a session: what was sent and not acknowledged yet, and how far what came in has been counted.

Messages are numbered from 0 in each direction, by counting: no number goes over the connection with them.
"""

from __future__ import annotations

import sys
from collections import deque

from .wire import Payload, ProtocolViolation

# An acknowledgement is due after so many messages, or after a second.
ACK_MESSAGES = 32


class Outgoing:
    """Keeps what was sent until the other side has acknowledged it.

    Attributes:
        first: the number of the oldest message that is kept.
        size: bytes of memory that the kept ones take.
    """

    def __init__(self) -> None:
        self.first = 0
        self.size = 0
        self._kept: deque[Payload] = deque()

    @property
    def next(self) -> int:
        """The number that the next message will have."""
        return self.first + len(self._kept)

    def add(self, payload: Payload) -> None:
        """Keep a message, with the next number."""
        self._kept.append(payload)
        self.size += sys.getsizeof(payload)

    def acknowledge(self, number: int) -> None:
        """Let go of all messages before a number.

        Raises:
            ProtocolViolation: the other side acknowledges what was never sent.
        """
        if number > self.next:
            raise ProtocolViolation(f"message {number - 1} is acknowledged, and was never sent")
        while self.first < number:
            self.size -= sys.getsizeof(self._kept.popleft())
            self.first += 1

    def is_kept(self, number: int) -> bool:
        """Whether all messages from a number on are there to be sent again."""
        return self.first <= number <= self.next

    def __getitem__(self, number: int) -> Payload:
        """The kept message with a number."""
        return self._kept[number - self.first]


class Incoming:
    """Counts what is received.

    Attributes:
        next: the number that the next message will have.
    """

    def __init__(self) -> None:
        self.next = 0
        self._acknowledged = 0

    @property
    def owed(self) -> int:
        """Messages that have not been acknowledged yet."""
        return self.next - self._acknowledged

    def count(self) -> None:
        """Count a message."""
        self.next += 1

    def acknowledged(self) -> int:
        """The number to acknowledge now; nothing is owed then."""
        self._acknowledged = self.next
        return self.next
