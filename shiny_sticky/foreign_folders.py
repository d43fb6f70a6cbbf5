"""Folders that somebody else may change at any time: made, emptied without following links, and told by the way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# Opens a folder, and nothing that has been put in its place meanwhile.
FOLDER_ONLY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# The same for a file; what is no file does not block.
FILE_ONLY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

# What opening says of a place where there is no folder (any more).
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

# Links on the way to a place, as many as Linux itself follows.
MOST_LINKS = 40


def make(folder: Path, mode: int, owner: tuple[int, int] | None = None) -> Path:
    """Make a folder, unless it is there, and give it its mode and owner; a link is no folder.

    Args:
        folder: in one that only we may change.
        mode: its permissions.
        owner: user and group that get it; None for ourselves.

    Returns:
        The folder.

    Raises:
        OSError: it cannot be made, or something else is in its place.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
    restrict(folder, mode, owner, FOLDER_ONLY)
    return folder


def restrict(path: Path, mode: int, owner: tuple[int, int] | None = None, flags: int = FILE_ONLY) -> None:
    """Give what is there already its mode, and another owner; a link is not followed.

    Args:
        path: a file, or what the flags let open.
        mode: its permissions.
        owner: user and group that get it; None changes nothing.
        flags: to open it with.

    Raises:
        OSError: it is missing, or something else is in its place.
    """
    descriptor = os.open(path, flags)
    try:
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def empty(folder: Path, depth: int = 0) -> None:
    """Remove the files in a folder, whatever its owner does with it meanwhile: no link is followed.

    Args:
        folder: in one that only we may change. If it is missing, nothing happens.
        depth: how deep folders in it are emptied, too. They stay, and so does what is deeper.

    Raises:
        OSError: that is not allowed, or too many files are open.
    """
    try:
        descriptor = os.open(folder, FOLDER_ONLY)
    except FileNotFoundError:
        return
    try:
        _empty(descriptor, depth)
    finally:
        os.close(descriptor)


def _empty(folder: int, depth: int) -> None:
    """Remove the files in an open folder. What is in it by now is listed once: its owner may add to it for ever."""
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(entry.name, dir_fd=folder)
        elif depth:
            _empty_within(folder, entry.name, depth - 1)


def _empty_within(folder: int, name: str, depth: int) -> None:
    """Remove the files in a folder of an open folder, unless that is none any more."""
    try:
        descriptor = os.open(name, FOLDER_ONLY, dir_fd=folder)
    except OSError as error:
        if error.errno in NO_FOLDER:
            return
        raise
    try:
        _empty(descriptor, depth)
    finally:
        os.close(descriptor)


def who_may_change(path: Path, gid: int) -> str:
    """Who else may put another file or folder in a path's place, and by which folder on the way to it.

    Args:
        path: absolute; it need not exist yet.
        gid: a group whose members are not to.

    Returns:
        To stand behind "because": "/home/ann belongs to another user (uid 1000)"; empty if nobody can.
    """
    ours = {0, os.geteuid()}
    for step in _way_to(path):
        found = step.lstat()
        if found.st_uid not in ours:
            return f"{step} belongs to another user (uid {found.st_uid})"
        if stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX:
            continue  # in a sticky folder, such as /tmp, each may change their own only
        if found.st_mode & stat.S_IWOTH:
            return f"{step} may be changed by everybody"
        if found.st_mode & stat.S_IWGRP and found.st_gid == gid:
            return f"{step} may be changed by the group {gid}"
    return ""


def _way_to(path: Path) -> Iterator[Path]:
    """The folders and links that lead to a path, as far as they exist.

    Raises:
        OSError: links go round in a circle.
    """
    place, links = Path(path.anchor), 0
    left = list(reversed(path.parts[1:]))
    while left:
        yield place
        step = place / left.pop()
        if step.is_symlink():
            yield step
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = step.readlink()
            place = Path(target.anchor) if target.is_absolute() else place
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        elif not step.exists():
            return
        else:
            place = step.resolve() if step.name == ".." else step
