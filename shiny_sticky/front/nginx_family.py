"""The processes of the nginx that runs from a run_dir: found by what they are, for their master may be dead.

nginx's workers carry no name but "nginx: worker process". Another nginx's are told apart by the session, which is
the master's own, and by the logs that they have open.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from shiny_sticky.handle import Handle

# Read directly, it takes a tenth of psutil's time; and all processes of the machine are looked at.
COMMAND_LINE = "/proc/{}/cmdline"
HAS_PROC = Path(COMMAND_LINE.format("self")).is_file()


def is_master(pid: int, run_dir: Path) -> bool:
    """Whether a process is the master of the nginx that runs from a run_dir."""
    title = title_of(pid)
    return _is_nginx(title) and "master process" in title and (f" {run_dir} " in title or _logs_to(pid, run_dir))


def is_serving(pid: int) -> bool:
    """Whether a process is an nginx worker that takes new connections."""
    title = title_of(pid)
    return _is_nginx(title) and "worker process" in title and "shutting down" not in title


def members(run_dir: Path, master: int) -> list[Handle]:
    """The master and the workers of the nginx that runs from a run_dir, also those of a master that was killed.

    Args:
        run_dir: absolute.
        master: the number that the master has, or had: it is not given to another process as long as there are
            processes of its session. After a restart of the machine it may be another nginx's. 0 if nobody knows.
    """
    known = is_master(master, run_dir) or not _is_nginx(title_of(master))
    session = master if known and master else None
    found = []
    for pid in psutil.pids():
        if _is_nginx(title_of(pid)):
            with contextlib.suppress(ProcessLookupError):
                member = Handle(pid)  # before it is looked at: else it might be another by then
                if _session_of(pid) == session or _logs_to(pid, run_dir):
                    found.append(member)
    return found


def title_of(pid: int) -> str:
    """The command line of a process, which nginx writes its role to; empty if it has ended."""
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        if HAS_PROC:
            return os.fsdecode(Path(COMMAND_LINE.format(pid)).read_bytes()).replace("\0", " ")
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def _is_nginx(title: str) -> bool:
    return "nginx: " in title  # behind what started it, if that is a loader of another system's libraries


def _session_of(pid: int) -> int:
    """A process's session; 0, as the kernel has it, if that began outside of this container; -1 if it has ended."""
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def _logs_to(pid: int, run_dir: Path) -> bool:
    """Whether a process has one of nginx's logs in a run_dir open, under whatever name that was rotated to."""
    with contextlib.suppress(psutil.Error):
        return any(file.path.startswith(f"{run_dir.resolve()}/nginx-") for file in psutil.Process(pid).open_files())
    return False
