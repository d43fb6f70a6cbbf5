"""Watches an import: which module has left a thread, a program or an open file behind, and when one begins."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any

from .forkable import Resource, resources
from .native_threads import TASKS

# Modules that are being imported, the outermost first. The app's own file is none of them: nothing stands for it.
Importing = tuple[str, ...]

# What has no loader of its own, and leaves nothing behind.
PYTHON_S_OWN = ("built-in", "frozen")


class ImportWatch:
    """Stands before Python's finders of modules, from its making until :meth:`end`.

    Args:
        begins: called with the name of each module whose import the main thread begins, before anything of it runs.
    """

    def __init__(self, begins: Callable[[str], None]) -> None:
        self._begins = begins
        self._importing: list[str] = []
        self._left_by: dict[Resource, Importing] = {}
        self._known = resources()
        self._counts = _counts()
        sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Watch no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def left_by(self, resource: Resource) -> Importing:
        """Who has left something behind: the module is the last; empty if it was the app's own file."""
        self._look()
        return self._left_by.get(resource, ())

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as the other finders do, and watch its import."""
        if threading.current_thread() is not threading.main_thread():
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                if spec.origin not in PYTHON_S_OWN and hasattr(spec.loader, "exec_module"):
                    spec.loader = _WatchedLoader(spec.loader, self)
                return spec  # type: ignore[no-any-return]
        return None

    @contextmanager
    def importing(self, name: str) -> Iterator[None]:
        """What a module does while it is imported; other modules' imports may be in it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._look()  # what is there by now is the outer module's
        self._begins(name)
        self._importing.append(name)
        try:
            yield
            self._look()
        finally:
            self._importing.pop()

    def _look(self) -> None:
        """Note what is new, and who is importing."""
        counts = _counts()
        if counts == self._counts:
            return
        self._counts = counts
        now = resources()
        self._left_by.update(dict.fromkeys(now - self._known, tuple(self._importing)))
        self._known = now


class _WatchedLoader:
    """Loads a module as its own loader does, and gives it back to that one before anything of it runs."""

    def __init__(self, loader: Any, watch: ImportWatch) -> None:
        self._loader = loader
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module; one that is written in C may run by that."""
        if not isinstance(self._loader, ExtensionFileLoader):
            return self._loader.create_module(spec)  # type: ignore[no-any-return]
        with self._watch.importing(spec.name):
            return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        with suppress(AttributeError):
            module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
            with self._watch.importing(module.__spec__.name):
                self._loader.exec_module(module)
        else:
            self._loader.exec_module(module)


def _counts() -> tuple[int, int, bool]:
    """What changes if there is a thread, descriptor or program more; it takes microseconds."""
    free = os.dup(0)
    os.close(free)
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        has_children = True
    except ChildProcessError:
        has_children = False
    return TASKS.stat().st_nlink, free, has_children
