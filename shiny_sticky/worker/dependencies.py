"""The folders that an app's processes have registered with Shiny, told to each other in notes.

Shiny serves the files of an HTML dependency (``lib/jquery-3.6.0/jquery.js``) in the process that has rendered it,
and in no other. So each process keeps a note of those that it serves, a file of JSON called as the process is, in a
folder that is the app's alone; the launcher removes it after the process's end::

    {"imported": 1790000000.0, "folders": [["lib/", "jquery-3.6.0", "/srv/venv/…/shared/jquery"], …]}
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# The name of a folder with its version, and where such a folder is in a URL's path.
NAME = re.compile(r"[^/]+-[0-9][^/]*")
VERSIONED = re.compile(rf"(?<=/)({NAME.pattern})/")

# A folder's time of change says nothing of a change that comes at once after it: clocks of files tick slowly.
SETTLED_NS = 1_000_000_000

# Bytes of a note; more is none.
LARGEST = 1 << 20


class Registered(NamedTuple):
    """A folder that a process has registered.

    Attributes:
        imported: when its app was imported there (Unix time, in seconds).
        prefix: of its URLs, below the path of the Shiny app that has it: ``lib/``.
        name: with its version: ``jquery-3.6.0``.
        source: the folder on disk.
    """

    imported: float
    prefix: str
    name: str
    source: str


class Asked(NamedTuple):
    """What a URL asks for.

    Attributes:
        file: the path below the folder.
        folders: those that processes have registered by the name there, each source once: of the last import first.
    """

    file: str
    folders: list[Registered]


# What a note said, behind its file's inode and time of change (in nanoseconds).
Read = tuple[tuple[int, int], list[Registered]]


class DependencyNotes:
    """What the app's processes have registered: this one's own, and the notes of all others.

    Args:
        folder: of the notes.
        incarnation: this process, as its note is called.
        imported: when its app was imported (Unix time, in seconds).
        on_other_source: called with the names of folders for which other processes have other sources than this
            one, if this is the first of them with its own.
    """

    def __init__(
        self, folder: Path, incarnation: str, imported: float, on_other_source: Callable[[set[str]], None]
    ) -> None:
        self.imported = imported
        self._folder = folder
        self._file = f"{incarnation}.json"
        self._on_other_source = on_other_source
        self._own: dict[Registered, None] = {}
        self._lock = threading.Lock()
        self._changed = -1  # when the folder had, as of the last look
        self._read: dict[str, Read] = {}  # by file
        self._by_name: dict[str, list[Registered]] = {}

    def add(self, folders: list[tuple[str, str, str]]) -> None:
        """Note folders that this process has registered.

        Args:
            folders: prefix, name and source of each.
        """
        new = [Registered(self.imported, *folder) for folder in folders]
        new = [folder for folder in new if folder not in self._own and NAME.fullmatch(folder.name)]
        if not new:
            return
        with self._lock:
            self._own.update(dict.fromkeys(new))
            self._changed = -1
            with suppress(OSError):  # the disk is full: the file is there for those that ask this process
                self._write()
            self._look()
            strange = self._with_other_sources(new)
        if strange:
            self._on_other_source(strange)

    def _with_other_sources(self, folders: list[Registered]) -> set[str]:
        """The names of those folders that other processes have, none of them with the same source."""
        others: dict[tuple[str, str], set[str]] = {}
        for _, noted in self._read.values():
            for folder in noted:
                others.setdefault((folder.prefix, folder.name), set()).add(folder.source)
        return {
            each.name for each in folders if each.source not in others.get((each.prefix, each.name), {each.source})
        }

    def has(self, folder: Registered) -> bool:
        """Whether this process has registered a folder itself."""
        return folder._replace(imported=self.imported) in self._own

    def knows(self, name: str) -> bool:
        """Whether any process has registered a folder of that name."""
        with self._lock:
            self._look()
            return name in self._by_name

    def asked(self, path: str) -> Asked | None:
        """What a URL's path asks for; None if no process has registered it."""
        for match in VERSIONED.finditer(path):
            with self._lock:
                self._look()
                named = self._by_name.get(match[1], ())
            before = path[: match.start()]
            folders = {each.source: each for each in reversed(named) if before.endswith(f"/{each.prefix}")}
            if folders:
                return Asked(path[match.end() :], sorted(folders.values(), reverse=True))
        return None

    def _write(self) -> None:
        """Write this process's note, in one step.

        Raises:
            OSError: the disk is full.
        """
        note = {"imported": self.imported, "folders": [folder[1:] for folder in self._own]}
        part = self._folder / f"{self._file}.part"
        part.write_text(json.dumps(note))
        part.replace(self._folder / self._file)

    def _look(self) -> None:
        """Read the notes of the other processes that have changed."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            changed = 0
        if changed == self._changed:
            return
        self._changed = changed if time.time_ns() - changed > SETTLED_NS else -1
        before, self._read = self._read, {}
        with suppress(OSError), os.scandir(self._folder) as files:
            for file in files:
                if file.name.endswith(".json") and file.name != self._file:
                    with suppress(OSError):  # it has just been removed
                        self._read[file.name] = _read_if_new(file, before.get(file.name))
        self._by_name = {}
        for folder in [*self._own, *(folder for _, noted in self._read.values() for folder in noted)]:
            self._by_name.setdefault(folder.name, []).append(folder)


def _read_if_new(file: os.DirEntry[str], before: Read | None) -> Read:
    """A note as it was read before, or anew if the file is another one, or has changed.

    Raises:
        OSError: it cannot be read.
    """
    found = file.stat(follow_symlinks=False)
    mark = (found.st_ino, found.st_mtime_ns)
    if before is not None and before[0] == mark:
        return before
    return mark, _noted(Path(file.path)) if file.is_file(follow_symlinks=False) else []


def _noted(file: Path) -> list[Registered]:
    """What a note says; nothing if it is none.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        text = stream.read(LARGEST)
    try:
        note = json.loads(text)
        imported = float(note["imported"])
        folders = [Registered(imported, *map(str, folder)) for folder in note["folders"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [folder for folder in folders if Path(folder.source).is_absolute()]


def watch(apps: tuple[Any, ...], notes: DependencyNotes) -> None:
    """Note what Shiny apps have registered, and from now on what they register, before a browser hears of it.

    Args:
        apps: all that there are.
        notes: where to.
    """
    from shiny import App

    notes.add([told for app in apps for each in _registered(app).values() if (told := _folder_of(app, each))])
    with suppress(AttributeError):  # a Shiny without it
        App._register_web_dependency = _noting(App._register_web_dependency, notes)  # type: ignore[method-assign]


def _noting(register: Any, notes: DependencyNotes) -> Any:
    """The method of ``shiny.App`` that registers a dependency, with a note of it."""

    @functools.wraps(register)
    def register_and_note(app: Any, dependency: Any) -> None:
        before = len(_registered(app))
        register(app, dependency)
        if len(_registered(app)) != before:
            told = _folder_of(app, dependency)
            if told is not None:
                notes.add([told])

    return register_and_note


def _registered(app: Any) -> dict[str, Any]:
    """The dependencies that a Shiny app has registered, by name and version."""
    return getattr(app, "_registered_dependencies", {})


def _folder_of(app: Any, dependency: Any) -> tuple[str, str, str] | None:
    """The prefix, name and source of a dependency's folder; None if it has no folder."""
    if not dependency.source:
        return None
    told = dependency.source_path_map(lib_prefix=app.lib_prefix)
    prefix, slash, name = told["href"].rpartition("/")
    return (prefix + slash, name, os.path.abspath(told["source"])) if told["source"] else None
