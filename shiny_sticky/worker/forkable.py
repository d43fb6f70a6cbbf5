"""Finds out what keeps a process that has imported an app from being forked.

Threads of the import are missing in a fork. Open files and connections are shared, so forks that read one steal
each other's bytes.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .native_threads import TASKS, NativeThread, name_of, native_threads, thread_numbers

# Devices that have no state of their own.
HARMLESS_DEVICES = re.compile(r"/dev/(null|zero|full|random|urandom|tty|console|ptmx|pts/\d+)$")

# For Linux a thread is there for a moment after it was joined, and nothing tells when it has gone.
ENDING_SECONDS = 0.3

# And whose a thread is can be told only when it waits: OpenBLAS's look out for more work for a while.
RUNNING_SECONDS = 3

# And a child process that stays what it was forked as is no program that is yet to start.
STARTING_SECONDS = 0.3

SQLITE = b"SQLite format 3\0"


class Resource(NamedTuple):
    """Something of a process that its forks may not have, or would share.

    Attributes:
        kind: thread, program or descriptor.
        number: Linux's.
        place: what a descriptor leads to; empty for others.
    """

    kind: str
    number: int
    place: str = ""


class Blocker(NamedTuple):
    """A reason not to fork.

    Attributes:
        reason: what the import does, to stand behind "it": ``starts a thread at import (poll)``.
        resources: what it has left.
        renewable: whether an app can make it anew in a fork.
    """

    reason: str
    resources: list[Resource]
    renewable: bool = True


def open_descriptors() -> dict[int, str]:
    """The descriptors that are open, each with what it leads to, as Linux says it."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that the folder was read with
            found[int(link.name)] = str(link.readlink())
    return found


def resources() -> set[Resource]:
    """The threads, programs and descriptors of this process, harmless or not."""
    found = {Resource("thread", number) for number in thread_numbers()}
    found |= {Resource("program", number) for number in _children()}
    return found | {Resource("descriptor", *each) for each in open_descriptors().items()}


def blockers(before: dict[int, str]) -> list[Blocker]:
    """Why this process must not be forked; empty if it may.

    Args:
        before: the descriptors that were open before the app was imported.

    Returns:
        Each reason, the plainest first.
    """
    opened = {fd: place for fd, place in open_descriptors().items() if before.get(fd) != place}
    return [*_python_threads(), *_native_threads(), *_programs(), *_descriptors(opened)]


def _python_threads() -> Iterator[Blocker]:
    """The threads of Python beside this one."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        names = [thread.name for thread in others]
        yield Blocker(
            f"starts {_count('thread', len(others))} at import ({_some(names)})",
            [Resource("thread", thread.native_id or 0) for thread in others],
        )


def _native_threads() -> Iterator[Blocker]:
    """The threads of libraries that a fork cannot do without."""
    began = time.monotonic()
    while threads := _harmful_threads():
        all_wait = all(thread.libraries for thread in threads)
        if time.monotonic() - began > (ENDING_SECONDS if all_wait else RUNNING_SECONDS):
            which = _some([str(thread) for thread in threads])
            yield Blocker(
                f"starts {_count('thread', len(threads))} of a native library at import ({which})",
                [Resource("thread", thread.number) for thread in threads],
                renewable=False,
            )
            return
        time.sleep(0.01)


def _harmful_threads() -> list[NativeThread]:
    return [thread for thread in native_threads() if not thread.harmless]


def _programs() -> Iterator[Blocker]:
    """Programs that were started, and still run.

    A child has the name of the thread that forked it until it has become the program that it is to run.
    """
    ours = {name_of(number) for number in thread_numbers()}
    deadline = time.monotonic() + STARTING_SECONDS
    while ours.intersection((programs := _children()).values()) and time.monotonic() < deadline:
        time.sleep(0.01)
    if programs:
        yield Blocker(
            f"starts a program at import ({_some(list(programs.values()))})",
            [Resource("program", number) for number in programs],
        )


def _children() -> dict[int, str]:
    """The child processes, by number, each with its name."""
    found = {}
    for task in TASKS.iterdir():
        with suppress(OSError):  # not every Linux has this file
            for child in (task / "children").read_text().split():
                with suppress(OSError):  # it has just ended
                    found[int(child)] = name_of(int(child))
    return found


def _descriptors(opened: dict[int, str]) -> Iterator[Blocker]:
    """What was opened and cannot be shared: for each kind, the first of that kind in words."""
    left = {fd: place for fd, place in opened.items() if not _is_read_only_sqlite(fd)}
    for is_such, sentence in UNSHARABLE:
        such = {fd: place for fd, place in left.items() if is_such(fd, place)}
        for fd, place in list(such.items())[:1]:
            reason = sentence.format(place=place, address=_address_of(fd, place))
            yield Blocker(reason, [Resource("descriptor", *each) for each in such.items()])


def _is_device(_: int, place: str) -> bool:
    shared_memory = place.startswith("/dev/shm/")
    return place.startswith("/dev/") and not shared_memory and not HARMLESS_DEVICES.match(place)


def _is_event_loop(_: int, place: str) -> bool:
    return "eventpoll" in place


def _is_sqlite(descriptor: int, _: str) -> bool:
    with suppress(OSError):
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return is_file and os.pread(descriptor, len(SQLITE), 0) == SQLITE
    return False


def _is_read_only_sqlite(descriptor: int) -> bool:
    """Whether it is a database that nobody writes through it, such as PROJ's of map projections.

    SQLite reads it without a read position, and its locks are those of the process that reads.
    """
    with suppress(OSError):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            return _is_sqlite(descriptor, "")
    return False


def _is_socket(_: int, place: str) -> bool:
    return place.startswith("socket:")


def _is_pipe(_: int, place: str) -> bool:
    return place.startswith(("pipe:", "anon_inode:"))


def _has_a_read_position(descriptor: int, place: str) -> bool:
    """Whether the file has a shared read position that matters.

    So it has if it is a regular file, readable, and neither opened for append nor mapped into memory.
    """
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError:
        return False
    access = flags & os.O_ACCMODE
    if access == os.O_WRONLY or flags & os.O_APPEND:
        return False
    return access != os.O_RDONLY or place not in _mapped()


# Whether a descriptor is of a kind that forks cannot share, and what the app does then; plainest reason first.
UNSHARABLE: tuple[tuple[Callable[[int, str], bool], str], ...] = (
    (_is_device, "opens a device at import ({place})"),
    (_is_event_loop, "makes an event loop at import"),
    (_is_sqlite, "opens an SQLite database at import ({place})"),
    (_is_socket, "opens a socket at import{address}"),
    (_is_pipe, "opens a pipe at import ({place})"),
    (_has_a_read_position, "keeps a file open at import ({place})"),
)


def _address_of(descriptor: int, place: str) -> str:
    """Where a socket leads to, in brackets, if that can be said; empty for what is none."""
    if not _is_socket(descriptor, place):
        return ""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
        with suppress(OSError):
            return _bracketed(copy.getpeername())
        return _bracketed(copy.getsockname())
    return ""


def _bracketed(address: object) -> str:
    if isinstance(address, tuple):
        return f" ({address[0]}:{address[1]})"
    return f" ({address})" if isinstance(address, str) and address else ""


def _mapped() -> set[str]:
    """The files that are mapped into memory."""
    text = os.fsdecode(Path("/proc/self/maps").read_bytes())
    rows = [line.split(maxsplit=5) for line in text.split("\n")]
    return {row[5] for row in rows if len(row) == 6}


def _some(names: list[str]) -> str:
    """Names for people to read, each once, not too many."""
    each = sorted(set(names))
    return ", ".join(each[:3]) + (", ..." if len(each) > 3 else "")


def _count(word: str, number: int) -> str:
    return f"a {word}" if number == 1 else f"{number} {word}s"
