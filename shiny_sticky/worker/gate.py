"""Whether new visitors come in to a worker: what its launcher has said last, and who may come in all the same."""

from __future__ import annotations

import asyncio
import math
import time

from . import tokens
from .protocol import Gate

# Seconds for which the launcher's word holds, which repeats it meanwhile. A dead one keeps nobody out for longer.
WORD_SECONDS = 10


class GateState:
    """The gate of a worker.

    Attributes:
        admitted: pages served since the start to visitors whose turn it was.
    """

    def __init__(self) -> None:
        self.admitted = 0
        self._key = b""
        self._closed_until = -math.inf  # by the event loop's clock
        self._used: dict[str, float] = {}  # admissions that have been, until when they would have been good

    @property
    def closed(self) -> bool:
        """Whether new visitors have to wait for their turn."""
        return asyncio.get_running_loop().time() < self._closed_until

    def obey(self, word: Gate) -> None:
        """Take the launcher's word."""
        self._key = bytes.fromhex(word.key)
        self._closed_until = asyncio.get_running_loop().time() + WORD_SECONDS if word.closed else -math.inf

    def admits(self, admission: str) -> bool:
        """Whether it is somebody's turn.

        Args:
            admission: what they have brought for that, if anything.
        """
        return self._good_until(admission) is not None and admission not in self._used

    def use(self, admission: str) -> None:
        """A page is served to somebody whose turn it was: to another one, nothing is served for that."""
        good_until = self._good_until(admission)
        if good_until is not None:
            now = time.time()
            self._used = {other: until for other, until in self._used.items() if until > now}
            self._used[admission] = good_until
            self.admitted += 1

    def _good_until(self, admission: str) -> float | None:
        """When an admission ends, Unix time in seconds; None if it is none, or has ended."""
        fields = tokens.read(self._key, tokens.ADMISSION, admission) if self._key else []
        if not fields:
            return None
        good_until = int(fields[0]) / 1000
        return good_until if good_until > time.time() else None
