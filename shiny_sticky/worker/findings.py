"""What an app's imports have left that forks cannot share, remembered from one start to the next.

A file of JSON in a folder that only the app's user may use: the fork server of one start writes it, that of the
next reads it. What packages do holds as long as none is installed or removed; what the app's own files do, until
one of them changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .forkable import Blocker
from .import_watch import ImportWatch

# The app's own file, which is imported under no name.
APP = ""

# Everything of the app: its parent has nothing but what serves it.
ALL = "*"

# Bytes of a file of findings; more is none.
LARGEST = 1 << 20

HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Left:
    """A module that is left for the forks to import.

    Attributes:
        reason: what it does, to stand behind "which": ``starts a thread at import (poll)``.
        importers: the modules that were importing it, the outermost first.
        is_own: whether it is one of the app's files, and not of a package.
    """

    reason: str
    importers: list[str] = field(default_factory=list)
    is_own: bool = False


class Findings:
    """The modules that an app's parent leaves for its forks to import.

    Args:
        file: where they are remembered; empty for nowhere.
        app_file: the app's, if it is a file.

    Attributes:
        left: by name; the app's own file is :data:`APP`.
        proven: whether a fork has worked with that.
    """

    def __init__(self, file: str, app_file: Path) -> None:
        self._file = Path(file) if file else None
        self._app_file = app_file
        self._files: dict[str, str] = {}  # the app's own, each with a digest
        self.left: dict[str, Left] = {}
        self.proven = False
        if self._file is not None:
            with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
                self._read(self._file)

    def leads_to(self, name: str) -> bool:
        """Whether the import of a module, or of a package that it is in, imports one that is left."""
        parts = name.split(".")
        names = {".".join(parts[: count + 1]) for count in range(len(parts))}
        return any(not names.isdisjoint([module, *left.importers]) for module, left in self.left.items())

    def add(self, blockers: list[Blocker], watch: ImportWatch) -> None:
        """Note who has left what keeps this process from being forked, and remember it."""
        for blocker in blockers:
            for resource in blocker.resources:
                *importers, module = watch.left_by(resource) or (APP,)
                left = Left(blocker.reason, importers, is_own(module))
                self.left.setdefault(module, left)
        self.proven = False
        self._remember()

    def prove(self) -> None:
        """Note that a fork has worked, and remember it."""
        if not self.proven:
            self.proven = True
            self._remember()

    def _read(self, file: Path) -> None:
        """Read what still holds.

        Raises:
            OSError: there is nothing to read.
            ValueError: and others; it is not what was written.
        """
        with file.open("rb") as stream:
            told = json.loads(stream.read(LARGEST))
        if told["packages"] != _packages():
            return
        files = {str(name): str(digest) for name, digest in told["files"].items()}
        unchanged = all(_digest(Path(name)) == digest for name, digest in files.items())
        for name, each in told["left"].items():
            left = _left_of(each)
            if unchanged or not left.is_own:
                self.left[str(name)] = left
        if unchanged:
            self._files, self.proven = files, bool(told["proven"])

    def _remember(self) -> None:
        """Write all in one step; if the disk is full, the next start finds it out again."""
        if self._file is not None:
            with suppress(OSError):
                self._write(self._file)

    def _write(self, file: Path) -> None:
        told = {
            "packages": _packages(),
            "files": {
                **self._files,
                **{str(own): _digest(own) for own in (*map(Path, _own_files()), self._app_file)},
            },
            "proven": self.proven,
            "left": {name: dataclasses.asdict(left) for name, left in self.left.items()},
        }
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(told, indent=1))
        part.replace(file)


def is_own(module: str) -> bool:
    """Whether a module is one of the app's files, and of no package or Python itself."""
    return module == APP or str(getattr(sys.modules.get(module), "__file__", None) or "") in _own_files()


def _own_files() -> set[str]:
    """The files of modules that belong to the app: those outside of all that is installed."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    installed = _installed_folders()
    return {file for file in files if isinstance(file, str) and not file.startswith(installed)}


def _installed_folders() -> tuple[str, ...]:
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {place for place in sys.path if place.endswith(("site-packages", "dist-packages"))}
    return tuple(f"{folder}{os.sep}" for folder in (*folders, HERE) if folder)


def _packages() -> str:
    """A digest of which packages of which version are installed for this interpreter."""
    names = [sys.version]
    for folder in sys.path:
        with suppress(OSError):
            names += [entry.name for entry in Path(folder).iterdir() if entry.suffix in (".dist-info", ".egg-info")]
    return hashlib.sha256("\n".join(sorted(names)).encode(errors="replace")).hexdigest()


def _digest(file: Path) -> str:
    """A digest of a file's content; empty if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def _left_of(told: Any) -> Left:
    """What was written of a module.

    Raises:
        TypeError, KeyError: it is not what was written.
    """
    return Left(str(told["reason"]), [str(name) for name in told["importers"]], bool(told["is_own"]))
