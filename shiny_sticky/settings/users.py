"""Whom nginx and the workers run as."""

from __future__ import annotations

import grp
import itertools
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shiny_sticky import resources
from shiny_sticky.errors import SettingsError, StickyError
from shiny_sticky.foreign_folders import who_may_change
from shiny_sticky.settings.model import Settings

# Prints each of its arguments that whoever runs it cannot use, with a NUL behind: folders are to be entered, files
# read or run. Only the system itself knows, from modes, groups, access control lists and mounts.
UNUSABLE = r"""
for path; do
    if [ -d "$path" ]; then [ -x "$path" ]; else [ -r "$path" ] || [ -x "$path" ]; fi || printf '%s\0' "$path"
done
"""

# Environment variables that say nothing but how the machine is set up.
OF_MACHINE = ("PATH", "LANG", "LANGUAGE", "TZ")

# Those by which systemd and the launcher alone know each other.
OF_SERVICE_MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


@dataclass(frozen=True)
class Owner:
    """The user of nginx and the workers, and who else reaches their sockets.

    Attributes:
        name: the user's name.
        home: folder.
        uid: number.
        gid: the primary group.
        switches: whether that is another user than the launcher's.
        socket_group: a group that may reach the sockets, too; None for nobody else.
    """

    name: str
    home: str
    uid: int
    gid: int
    switches: bool
    socket_group: int | None


def owner_of(settings: Settings) -> Owner:
    """Look up whom to run as.

    Raises:
        SettingsError: the user or group does not exist, or only root could become that user.
    """
    here = os.geteuid()
    try:
        user = pwd.getpwnam(settings.user) if settings.user else pwd.getpwuid(here)
    except KeyError:
        raise SettingsError([f"user: there is no user {settings.user or here} on this machine"]) from None
    if user.pw_uid != here and here != 0:
        raise SettingsError([f"user: only root can become {settings.user}; start with sudo, or leave it out"])
    group = None
    if settings.nginx.socket_group is not None:
        try:
            group = grp.getgrnam(settings.nginx.socket_group).gr_gid
        except KeyError:
            raise SettingsError(
                [f"nginx.socket_group: there is no group {settings.nginx.socket_group} on this machine"]
            ) from None
    return Owner(user.pw_name, user.pw_dir, user.pw_uid, user.pw_gid, user.pw_uid != here, group)


def environment_of(owner: Owner) -> dict[str, str]:
    """The environment variables of processes that run as the owner, but for those of the settings.

    The launcher's own, but for those of its service manager. For another user, as a login would give them, those of
    the machine alone: the others are the launcher's secrets, or lead to files of its user's.
    """
    if not owner.switches:
        return {name: value for name, value in os.environ.items() if name not in OF_SERVICE_MANAGER}
    kept = {name: value for name, value in os.environ.items() if name in OF_MACHINE or name.startswith("LC_")}
    return {**kept, "HOME": owner.home, "USER": owner.name, "LOGNAME": owner.name}


def check_place(key: str, place: Path, owner: Owner) -> None:
    """See to it that nobody else can put something else where root writes, reads or deletes.

    Args:
        key: the setting that names the place.
        place: a file or folder; it need not exist yet.
        owner: whom the workers run as. As the launcher's own user they need nobody's place to do harm.

    Raises:
        StickyError: somebody can; says by which folder.
        OSError: there is no way to it.
    """
    if owner.switches and (why := who_may_change(place, owner.gid)):
        raise StickyError(
            f"{key}: {place} will not do with user: {owner.name}, because {why}, who could lead root astray there. "
            f"Choose a place below folders that only root may change, such as /run or /var/lib."
        )


def check_reach(settings: Settings, owner: Owner, folder: Path) -> None:
    """See to it that the configured user can reach what its processes run and serve.

    A project below /root is the usual case: no other user may enter that.

    Args:
        settings: what is served.
        owner: whom the workers run as.
        folder: the settings file's.

    Raises:
        StickyError: something is out of the user's reach; says what, and which folder or file is closed.
    """
    if not owner.switches:
        return
    closed: dict[Path, list[str]] = {}
    needed = _needed(settings, folder)
    ways = {path: [*_way_to(path), *_way_to(path.resolve())] for path in needed}
    unusable = _unusable(owner, sorted(set(itertools.chain(*ways.values()))))
    for path, way in ways.items():
        for barrier in [step for step in way if step in unusable][:1]:
            closed.setdefault(barrier, []).append(f"{path} ({needed[path]})")
    if closed:
        raise StickyError("\n".join(_explained(owner, barrier, paths) for barrier, paths in closed.items()))


def _needed(settings: Settings, folder: Path) -> dict[Path, str]:
    """What processes run and serve, each with what it is."""
    needed = {resources.path("worker"): "the workers' program", settings.run_dir.parent: "the folder of run_dir"}
    for name, app in settings.apps.items():
        needed.setdefault(app.python or Path(sys.executable), f"the Python of app {name}")
        file = Path(app.target.partition(":")[0])
        needed.setdefault(file if file.suffix == ".py" else folder, f"app {name}")
    return needed


def _way_to(path: Path) -> list[Path]:
    """The folders that lead to a path, and the path itself, as far as they exist."""
    return [step for step in (*reversed(path.parents), path) if step.exists()]


def _unusable(owner: Owner, paths: list[Path]) -> set[Path]:
    """Those of some paths that a user can neither enter, read nor run; none where there is no shell to ask."""
    try:
        asked = subprocess.run(
            ["/bin/sh", "-c", UNUSABLE, "sh", *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd="/",
            check=False,
            user=owner.uid,
            group=owner.gid,
            extra_groups=[],
        )
    except OSError:
        return set()
    return {Path(os.fsdecode(path)) for path in asked.stdout.split(b"\0") if path}


def _explained(owner: Owner, barrier: Path, paths: list[str]) -> str:
    """What a closed folder or file keeps from a user, and what to do."""
    if not barrier.is_dir():
        return f"user: {owner.name} may not read {barrier}. Allow it: chmod o+r '{barrier}'"
    return (
        f"user: {owner.name} may not enter {barrier}, and so cannot reach {', '.join(paths)}. Move that to where "
        f"every user may go, such as /srv, or open the folder: chmod o+x '{barrier}'"
    )
