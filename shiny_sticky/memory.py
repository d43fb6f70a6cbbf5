"""How much memory there is, and is left: the machine's, and that of the control groups that this process is in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Memory, in bytes.

    Attributes:
        total: what there is.
        available: what can be had without taking it from somebody; files that are cached are nobody's.
    """

    total: int
    available: int


def look() -> Memory:
    """What this process and its children may have: the least of what the machine and each group have left."""
    machine = psutil.virtual_memory()
    found = [Memory(machine.total, machine.available), *_groups()]
    return Memory(min(each.total for each in found), min(each.available for each in found))


def _groups() -> Iterator[Memory]:
    """The memory of each control group above this process that has a limit (Linux; version 2, or 1 of old)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _limits(CGROUPS, path, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
                yield from _limits(CGROUPS / "memory", path, *names)


def _limits(root: Path, path: str, limit: str, used: str, cached: str) -> Iterator[Memory]:
    """The limits from a group up to the root of its hierarchy.

    Args:
        root: where the hierarchy is mounted.
        path: of the group.
        limit: the file that has it.
        used: the file that says what of it is taken.
        cached: the key of memory.stat by which some of that are files that can be dropped.
    """
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):  # no limit is "max", or no such file
            total = int((folder / limit).read_text(encoding="utf-8"))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
            taken = int((folder / used).read_text(encoding="utf-8")) - int(stat.get(cached, 0))
            yield Memory(total, max(0, total - taken))
        if folder == root:
            return
