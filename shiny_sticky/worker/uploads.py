"""Uploaded files that outlive the process which took them, for the next session of the page that sent them.

Shiny removes a session's files at its end, and nobody those of a process that was killed. Here each file has a
second name (a hard link), in a folder of the app's processes: for each process a folder, in it one for each session
that has files, in it the record of them. A session's folder is called by a hash of what nobody but its page knows,
and of who the user is; nothing that a page says becomes part of a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

RECORD = "record.json"

# Tells since when a process is known to be gone.
GONE = "gone"

# Seconds that the files of a process which is gone are kept for their pages.
KEEP_SECONDS = 3600

# What Shiny knows of an uploaded file: `name`, `size`, `type`, and `datapath`, where it is.
FileInfo = dict[str, Any]


class Uploads:
    """The uploaded files of a process's sessions.

    Args:
        folder: of the app; its processes alone come to it.
        process: this one's name, such as ``app2.k3f9``.
        runs: says whether a process runs, by its name.
    """

    def __init__(self, folder: Path, process: str, runs: Callable[[str], bool]) -> None:
        self._folder = folder
        self._mine = folder / process
        self._runs = runs

    def note(self, session: str, input_id: str, files: list[FileInfo]) -> None:
        """Keep what a session's input holds, in place of what it held before.

        Args:
            session: from :func:`name_of`.
            input_id: of the file input.
            files: its value.

        Raises:
            OSError: the disk is full.
        """
        self._remove_old()
        home = self._mine / session
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = _read(home)
        before = record.pop(input_id, [])
        record[input_id] = [_linked(file, home) for file in files]
        _write(home, record)
        for file in before:
            _unlink(home, file)

    def take_over(self, before: str, session: str) -> dict[str, list[FileInfo]]:
        """Make an earlier session's files this one's. Nobody finds them a second time.

        Args:
            before: the earlier session, from :func:`name_of`.
            session: likewise, the one that has begun now.

        Returns:
            For each file input its value; none whose files are gone.
        """
        self._mine.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = self._mine / session
        for found in self._folder.glob(f"*/{before}"):
            with suppress(OSError):
                found.rename(home)
                record = _read(home)
                there = {name: [_located(file, home) for file in files] for name, files in record.items()}
                return {name: files for name, files in there.items() if all(map(_is_there, files))}
        return {}

    def forget(self, session: str) -> None:
        """Remove what a session has."""
        shutil.rmtree(self._mine / session, ignore_errors=True)

    def _remove_old(self) -> None:
        """Remove what processes have left that are gone for long."""
        for process in self._folder.glob("*.*"):
            if self._runs(process.name) or process == self._mine:
                continue
            with suppress(OSError):  # another process is at it, too
                gone = process / GONE
                if not gone.exists():
                    gone.touch()
                elif time.time() - gone.stat().st_mtime > KEEP_SECONDS:
                    shutil.rmtree(process, ignore_errors=True)


def name_of(secret: str, user: Iterable[bytes]) -> str:
    """The name of a session's folder.

    Args:
        secret: that its page alone knows.
        user: what its request says of who asks.
    """
    told = b"\n".join([secret.encode(), *user])
    return hashlib.blake2b(told, digest_size=16).hexdigest()


def _linked(file: FileInfo, home: Path) -> FileInfo:
    """A file with a second name in a session's folder; with its own where that is another file system."""
    path = Path(file["datapath"])
    link = secrets.token_hex(8) + path.suffix
    try:
        os.link(path, home / link)
    except OSError:
        return {**file, "datapath": str(path)}
    return {**file, "datapath": link}


def _located(file: FileInfo, home: Path) -> FileInfo:
    """A file with its whole path."""
    return {**file, "datapath": str(home / file["datapath"])}


def _unlink(home: Path, file: FileInfo) -> None:
    """Remove the second name of a file, if it has one."""
    with suppress(OSError):
        if not Path(file["datapath"]).is_absolute():
            (home / file["datapath"]).unlink()


def _is_there(file: FileInfo) -> bool:
    return Path(file["datapath"]).is_file()


def _read(home: Path) -> dict[str, list[FileInfo]]:
    """The record of a session's files; none if there is no such."""
    with suppress(OSError, ValueError):
        return json.loads((home / RECORD).read_text())  # type: ignore[no-any-return]
    return {}


def _write(home: Path, record: dict[str, list[FileInfo]]) -> None:
    fresh = home / f".{RECORD}"
    fresh.write_text(json.dumps(record))
    fresh.replace(home / RECORD)
