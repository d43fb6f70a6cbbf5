"""Finds out whether a process that has imported an app may be forked.

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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Devices that have no state of their own.
HARMLESS_DEVICES = re.compile(r"/dev/(null|zero|full|random|urandom|tty|console|ptmx|pts/\d+)$")

# For Linux a thread is there for a moment after it was joined, and nothing tells when it has gone.
ENDING_SECONDS = 0.3

# And a child process that stays what it was forked as is no program that is yet to start.
STARTING_SECONDS = 0.3

SQLITE = b"SQLite format 3\0"


def open_descriptors() -> dict[int, str]:
    """The descriptors that are open, each with what it leads to, as Linux says it."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that the folder was read with
            found[int(link.name)] = str(link.readlink())
    return found


def fork_blocker(before: dict[int, str]) -> str:
    """Why this process must not be forked; empty if it may.

    Args:
        before: the descriptors that were open before the app was imported.

    Returns:
        What the app does, to stand behind "because it".
    """
    opened = {fd: place for fd, place in open_descriptors().items() if before.get(fd) != place}
    return _threads() or _programs() or _descriptors(opened)


def _threads() -> str:
    """The threads beside this one, but for OpenBLAS's: it starts its own again in a fork."""
    mine = threading.enumerate()
    others = [thread.name for thread in mine if thread is not threading.main_thread()]
    if others:
        return f"starts {_count('thread', len(others))} at import ({_some(others)})"
    deadline = time.monotonic() + ENDING_SECONDS
    while names := _native_threads():
        if time.monotonic() > deadline:
            return f"starts {_count('thread', len(names))} of a native library at import ({_some(names)})"
        time.sleep(0.01)
    return ""


def _native_threads() -> list[str]:
    """The names of the threads that are not Python's."""
    native = {int(task.name) for task in Path("/proc/self/task").iterdir()}
    names = []
    for number in native - {thread.native_id or 0 for thread in threading.enumerate()}:
        with suppress(OSError):
            names.append(_name_of(number))
    # Those of OpenBLAS are called as the process is.
    unnamed = names.count(_name_of(os.getpid()))
    if unnamed <= len(_mapped("openblas")) * ((os.cpu_count() or 1) - 1):
        names = [name for name in names if name != _name_of(os.getpid())]
    return names


def _programs() -> str:
    """Programs that were started, and still run.

    A child has the name of the thread that forked it until it has become the program that it is to run.
    """
    ours = {_name_of(int(task.name)) for task in Path("/proc/self/task").iterdir()}
    deadline = time.monotonic() + STARTING_SECONDS
    while ours.intersection(names := _children()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return f"starts a program at import ({_some(names)})" if names else ""


def _children() -> list[str]:
    """The names of the child processes."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # not every Linux has this file
            for child in (task / "children").read_text().split():
                with suppress(OSError):  # it has just ended
                    names.append(_name_of(int(child)))
    return names


def _descriptors(opened: dict[int, str]) -> str:
    """What was opened and cannot be shared; the plainest reason of several."""
    for is_such, sentence in UNSHARABLE:
        for descriptor, place in opened.items():
            if is_such(descriptor, place):
                return sentence.format(place=place, address=_address_of(descriptor, place))
    return ""


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
    return access != os.O_RDONLY or place not in _mapped("")


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


def _mapped(word: str) -> set[str]:
    """The files that are mapped into memory and have a word in their name."""
    text = os.fsdecode(Path("/proc/self/maps").read_bytes())
    rows = [line.split(maxsplit=5) for line in text.split("\n")]
    return {row[5] for row in rows if len(row) == 6 and word in row[5].rpartition("/")[2]}


def _name_of(number: int) -> str:
    """The name of a process or thread of this one, as Linux has it."""
    return Path(f"/proc/{number}/comm").read_text(errors="replace").rstrip("\n")


def _some(names: list[str]) -> str:
    """Names for people to read, each once, not too many."""
    each = sorted(set(names))
    return ", ".join(each[:3]) + (", ..." if len(each) > 3 else "")


def _count(word: str, number: int) -> str:
    return f"a {word}" if number == 1 else f"{number} {word}s"
