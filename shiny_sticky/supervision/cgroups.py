"""What workers may take at most, kept by the system: each in a control group (cgroup v2) of its own.

A site's groups are in one folder, beside the launcher's own group; each is called like the process that is in it::

    .../shiny-sticky.service/launcher              the launcher, by the unit's DelegateSubgroup=
    .../shiny-sticky.service/sticky-5f2c9a01/      the site's, by its run_dir
    .../shiny-sticky.service/sticky-5f2c9a01/app2.k3f9/
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from shiny_sticky.settings.process_model import LimitSettings
from shiny_sticky.settings.values import size_in_words

# Microseconds of cpu.max: the time in which a worker may use its share.
CPU_PERIOD = 100_000

# Where the launcher itself goes if it is at the root of a container's groups: a group that limits others has no
# processes of its own.
LAUNCHER_GROUP = "launcher"

# Attempts to move all processes out of a group, some of which may start others meanwhile.
MOVES = 10


class GroupsUnavailable(Exception):
    """The launcher may not make control groups; its text says why, and what to do."""


class Group:
    """The control group of one process, and of the programs that it starts.

    Args:
        path: its folder.
        limits: what is kept in it.
    """

    def __init__(self, path: Path, limits: LimitSettings) -> None:
        self._path = path
        self._limits = limits

    def how_it_ended(self) -> str:
        """In words, that the system has ended all that is in it for its memory; empty if it has not."""
        with contextlib.suppress(OSError):
            events = dict(line.split() for line in (self._path / "memory.events").read_text().splitlines())
            if self._limits.memory is not None and int(events.get("oom_kill", 0)):
                return f"was ended by its memory limit of {size_in_words(self._limits.memory)} (limits.memory)"
        return ""

    def remove(self) -> None:
        """Remove it, unless a program is left in it; then :meth:`Groups.sweep` does so later."""
        with contextlib.suppress(OSError):
            self._path.rmdir()


class Groups:
    """The control groups of a site. Where they cannot be had, workers run without limits, and that is said once.

    Args:
        run_dir: by which those of one site are told from another's.
        report: takes what cannot be done.
    """

    def __init__(self, run_dir: Path, report: Callable[[str], None]) -> None:
        self._name = f"sticky-{hashlib.sha256(str(run_dir).encode()).hexdigest()[:8]}"
        self._report = report
        self._told = ""
        self._folder: Path | None = None

    def limit(self, name: str, pid: int, limits: LimitSettings) -> Group | None:
        """Put a process, which has just been started, into a group of its own.

        Args:
            name: the incarnation.
            pid: the process.
            limits: what it may take.

        Returns:
            The group; None if there are no limits, or they cannot be kept.
        """
        wanted = [key for key in ("memory", "cpu") if getattr(limits, key) is not None]
        if not wanted:
            return None
        group = None
        try:
            folder = self._open(wanted)
            self.sweep()
            group = folder / name
            group.mkdir()
            _write_limits(group, limits)
            _write(group / "cgroup.procs", str(pid))
        except (OSError, GroupsUnavailable) as error:
            if group is not None:
                Group(group, limits).remove()
            if not isinstance(error, ProcessLookupError):  # it has ended already, which others notice
                self._say(f"{' and '.join(f'limits.{key}' for key in wanted)} cannot be kept: {_reason(error)}")
            return None
        return Group(group, limits)

    def sweep(self) -> None:
        """Remove the groups that nothing runs in any more."""
        if self._folder is not None:
            for group in self._folder.glob("*/"):
                with contextlib.suppress(OSError):
                    group.rmdir()

    def close(self) -> None:
        """Remove all that is empty, the site's own folder among it."""
        self.sweep()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _open(self, controllers: Iterable[str]) -> Path:
        """The folder of the site's groups, in which limits can be set.

        Raises:
            GroupsUnavailable: there is no place where the launcher may make groups.
            OSError: it may not make this one.
        """
        base = _place()
        available = (base / "cgroup.controllers").read_text().split()
        if missing := [key for key in controllers if key not in available]:
            raise GroupsUnavailable(
                f"{base} has no controller for {' and '.join(missing)}. Systems with cgroup v1 have it there; "
                "systemd.unified_cgroup_hierarchy=1 on the kernel's command line makes them use v2."
            )
        _enable(base, controllers)
        folder = base / self._name
        folder.mkdir(exist_ok=True)
        _enable(folder, controllers)
        self._folder = folder
        return folder

    def _say(self, text: str) -> None:
        """Report a problem, unless it was the last one that was."""
        if text != self._told:
            self._told = text
            self._report(text)


def _place() -> Path:
    """The group in which the site's may be made: the one above the launcher's own, or the root of all that it sees.

    Raises:
        GroupsUnavailable: there is none; why.
    """
    group, root = _own_group()
    if group == root:
        return root
    if group.suffix == ".service":
        raise GroupsUnavailable(
            "a service needs Delegate=yes and DelegateSubgroup=launcher for that (systemd 254 or newer); "
            "conf/shiny-sticky.service has them, to be uncommented."
        )
    return group.parent


def _own_group() -> tuple[Path, Path]:
    """The launcher's own group, and the root of all groups that it sees.

    Raises:
        GroupsUnavailable: the system has none, or those of cgroup v1 alone.
    """
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        raise GroupsUnavailable("only Linux has cgroups.") from None
    mounted = [(Path(mount[4]), mount[3]) for mount in mounts if mount[mount.index("-") + 1] == "cgroup2"]
    own = [line.removeprefix("0::") for line in groups if line.startswith("0::")]
    if not mounted or not own:
        raise GroupsUnavailable("this system has no cgroup v2.")
    place, shown = mounted[0]
    below = Path(own[0])
    return place / (below.relative_to(shown) if below.is_relative_to(shown) else below.relative_to("/")), place


def _enable(group: Path, controllers: Iterable[str]) -> None:
    """Let limits be set in the groups below one.

    Raises:
        OSError: it is not allowed, or the group has processes of its own that stay.
    """
    enabled = (group / "cgroup.subtree_control").read_text().split()
    missing = " ".join(f"+{key}" for key in controllers if key not in enabled)
    if not missing:
        return
    for _ in range(MOVES):
        try:
            _write(group / "cgroup.subtree_control", missing)
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        _move_down(group)
    raise OSError(errno.EBUSY, "it has processes of its own", str(group))


def _move_down(group: Path) -> None:
    """Move the processes of a container's root group, the launcher among them, into a group below it."""
    below = group / LAUNCHER_GROUP
    below.mkdir(exist_ok=True)
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            _write(below / "cgroup.procs", pid)


def _write_limits(group: Path, limits: LimitSettings) -> None:
    """Set the limits of a group: one process that takes too much memory ends with all that it has started."""
    if limits.memory is not None:
        _write(group / "memory.max", str(limits.memory))
        _write(group / "memory.oom.group", "1")
        with contextlib.suppress(FileNotFoundError):  # no swap in this kernel
            _write(group / "memory.swap.max", "0")
    if limits.cpu is not None:
        _write(group / "cpu.max", f"{max(1000, round(limits.cpu * CPU_PERIOD))} {CPU_PERIOD}")


def _write(file: Path, text: str) -> None:
    """Write into a file of a group.

    Raises:
        OSError: the system refuses it; with the file's name, which Python leaves out.
    """
    try:
        file.write_text(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def _reason(error: Exception) -> str:
    """Why groups cannot be made, in a sentence."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.EROFS:
        return (
            f"{error.filename} is read-only, as in most containers (give the container itself a limit), "
            "and in services with ProtectControlGroups=yes."
        )
    if isinstance(error, PermissionError):
        return (
            f"{error.filename} is another user's. As a service with Delegate=yes (conf/shiny-sticky.service), "
            "or as root, the launcher may make cgroups."
        )
    return f"{error.filename}: {error.strerror}."
