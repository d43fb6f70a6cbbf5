"""What a front costs: CPU time and memory of its processes, from /proc; and what machine this is."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads of these processes so far.

    From schedstat, which counts nanoseconds; /proc/<pid>/stat counts ticks of 10 ms.
    """
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # the thread has ended meanwhile
                total += int(file.read_text().split()[0])
    return total / 1e9


def pss(pids: Iterable[int]) -> float:
    """Memory of these processes in bytes; what several share is divided among them (PSS)."""
    total = 0
    for pid in pids:
        found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


class Spread(NamedTuple):
    """Median and quartiles of some figures: half of them lie from low to high.

    With other things going on at the machine, the least and the greatest say more of those than of what
    is measured.
    """

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """Sum up the figures of the rounds."""
    values = list(values)
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def first_line(*command: str) -> str:
    """The first line that a program prints, such as its version; empty if it cannot be run."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    return (ran.stdout + ran.stderr).strip().partition("\n")[0]


def machine(programs: dict[str, str]) -> dict[str, str]:
    """What the figures were made on.

    Args:
        programs: further versions, by name.
    """
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = psutil.virtual_memory().total / 2**30
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    packages = {name: metadata.version(name) for name in ("shiny", "uvicorn", "websockets")}
    where = Path(__file__).resolve().parent
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "load before": "{:.2f}, {:.2f}, {:.2f}".format(*os.getloadavg()),
        "commit": first_line("git", "-C", str(where), "describe", "--always", "--dirty", "--abbrev=12"),
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"Python": sys.version.split()[0], **packages, **programs}.items()
        ),
    }
