"""Threads that Python does not know of: which library has started each, and whether a fork can do without it."""

from __future__ import annotations

import os
import re
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TASKS = Path("/proc/self/task")

# Threads of libraries that know of forks, and start them again there as they need them:
# OpenBLAS, and Arrow's pool, which compute the same in a fork, used before or not.
KNOWS_FORKS = re.compile(r"openblas|^libarrow")

# jemalloc's own, whichever library has it inside: in a fork, what the thread did is done by those that free memory.
HARMLESS = "jemalloc_bg_thd"

# What is on the stack of any thread, and says nothing of whose it is.
SYSTEM = re.compile(r"^(libc|libpthread|libm|libstdc\+\+|libgcc_s|ld-linux[^.]*|ld-musl[^.]*)[.-]")

# Bytes of a stack that are looked at, from where the thread waits.
LOOKED_AT = 1 << 16

WORD = struct.calcsize("P")


class NativeThread(NamedTuple):
    """A thread that Python does not know of.

    Attributes:
        number: Linux's.
        name: as ps shows it.
        libraries: whose code is on its stack, the system's left out; empty if that cannot be told (at this moment).
    """

    number: int
    name: str
    libraries: frozenset[str]

    @property
    def harmless(self) -> bool:
        """Whether a fork does without it."""
        if self.name == HARMLESS:
            return True
        return bool(self.libraries) and all(KNOWS_FORKS.search(library) for library in self.libraries)

    def __str__(self) -> str:
        return f"{self.name} of {min(self.libraries)}" if self.libraries else self.name


def native_threads() -> list[NativeThread]:
    """The threads of this process that Python does not know of."""
    ours = {thread.native_id for thread in threading.enumerate()}
    numbers = [number for number in thread_numbers() if number not in ours]
    if not numbers:
        return []
    code = CodeMap()
    found = []
    for number in numbers:
        with suppress(OSError):  # it has just ended
            found.append(NativeThread(number, name_of(number), code.libraries(number)))
    return found


def thread_numbers() -> set[int]:
    """Linux's numbers of all threads of this process."""
    return {int(task.name) for task in TASKS.iterdir()}


def name_of(number: int) -> str:
    """The name of a process or thread, as Linux has it.

    Raises:
        OSError: it has ended.
    """
    return Path(f"/proc/{number}/comm").read_text(errors="replace").rstrip("\n")


class CodeMap:
    """Where the code of each library is in this process's memory, as of now."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._names: list[str] = []  # empty for what is no code
        for line in os.fsdecode(Path("/proc/self/maps").read_bytes()).split("\n"):
            place, _, rest = line.partition(" ")
            if "-" in place:
                start, end = place.split("-")
                is_code = "x" in rest[:4] and "/" in rest
                self._starts.append(int(start, 16))
                self._ends.append(int(end, 16))
                self._names.append(rest.rpartition("/")[2] if is_code else "")

    def libraries(self, thread: int) -> frozenset[str]:
        """The files whose code a waiting thread is to return to, by its stack; the system's left out."""
        return frozenset(
            name for address in self._stack(thread) if (name := self._name_at(address)) and not SYSTEM.match(name)
        )

    def _stack(self, thread: int) -> Iterator[int]:
        """What is on a thread's stack, word by word; nothing if it does not wait for the system."""
        with suppress(OSError, ValueError, IndexError):
            pointer = int((TASKS / str(thread) / "syscall").read_text().split()[-2], 16)
            end = self._ends[bisect_right(self._starts, pointer) - 1]
            with Path("/proc/self/mem").open("rb", buffering=0) as memory:
                memory.seek(pointer)
                text = memory.read(min(end - pointer, LOOKED_AT))
            yield from (word for (word,) in struct.iter_unpack("P", text[: len(text) // WORD * WORD]))

    def _name_at(self, address: int) -> str:
        index = bisect_right(self._starts, address) - 1
        return self._names[index] if index >= 0 and address < self._ends[index] else ""
