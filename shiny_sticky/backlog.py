"""Work that may have to wait, done in a thread of its own, so that whoever has it done never waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Backlog:
    """Does what it is given one after another; what there is no room for is dropped, and counted.

    Once something was dropped, so is all that follows until the rest is done. So what is missing is missing in one
    place, which ``on_drop`` is told of in its turn.

    Args:
        room: size of all that may wait.
        on_drop: takes how many actions were dropped, between those before and those after them.
    """

    def __init__(self, room: int, on_drop: Callable[[int], None]) -> None:
        self._room = room
        self._on_drop = on_drop
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._size = 0
        self._dropped = 0
        self._idle = False
        self._changed = threading.Condition()
        # A daemon: one that is stuck must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="backlog", daemon=True)
        self._thread.start()

    def put(self, size: int, action: Callable[[], None]) -> None:
        """Have something done, as soon as what was given before is.

        Args:
            size: of what waits with it; 0 always has room.
            action: done in the thread.
        """
        with self._changed:
            if size and (self._dropped or self._size + size > self._room):
                self._dropped += 1
            else:
                self._size += size
                self._waiting.append((size, action))
            self._changed.notify_all()

    def flush(self, timeout: float) -> None:
        """Wait until all that was given is done.

        Args:
            timeout: seconds that it may take.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._idle and not self._waiting and not self._dropped, timeout)

    def _work(self) -> None:
        while True:
            self._next()()

    def _next(self) -> Callable[[], None]:
        """What is to be done now."""
        with self._changed:
            self._idle = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._dropped)
            self._idle = False
            if self._waiting:
                size, action = self._waiting.popleft()
                self._size -= size
                return action
            dropped, self._dropped = self._dropped, 0
            return lambda: self._on_drop(dropped)
