"""The import of an app in the process that its workers are forked off, up to what forks cannot share.

Usually that is all of it. Else the process stops right before the module that starts a thread or opens a
connection, in the midst of the app's import, and forks there: each fork goes on with that import as if nothing had
been.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import shiny_apps, shutdown_callbacks
from .findings import ALL, APP, Findings, Left, is_own
from .fork_server import ForkServer
from .forkable import Blocker, Resource
from .header_imports import header_imports
from .import_watch import ImportWatch
from .loading import Loaded, load, on_fork
from .options import WorkerOptions
from .protocol import Ready


class SharedImport:
    """The import of one app.

    Args:
        options: the fork server's.
        server: forks the workers.
    """

    def __init__(self, options: WorkerOptions, server: ForkServer) -> None:
        self._target = options.target
        self._server = server
        self._file = _file_of(options.target)
        self._findings = Findings(options.findings, self._file)
        if options.distrust:
            self._findings.left = {ALL: Left(options.distrust)}
            self._findings.proven = False
        self._watch = ImportWatch(self._stop_before)
        self._on_fork: Callable[[], object] | None = None

    def load(self) -> Loaded | None:
        """Import the app here as far as forks can share that, and the rest in each fork.

        Returns:
            In each fork: the app. In this process itself, at its end: None.

        Raises:
            Exception: as :func:`.loading.load` does, or whatever the app's on_fork raises.
        """
        if self._findings.left:
            if ALL not in self._findings.left:
                self._import_header()
            elif "shiny" in self._file.read_text(errors="replace"):
                import shiny  # noqa: F401
            self._stop_before(APP)
        loaded = load(self._target)
        if self._server.is_fork:
            shiny_apps.collect()
            return loaded
        self._on_fork = on_fork(loaded)
        if not self._fork(left=""):
            return None
        if self._on_fork is not None:
            self._on_fork()
        return loaded

    def _import_header(self) -> None:
        """Import what forks can share of that which the app imports behind what they cannot share."""
        sys.path.insert(0, str(self._file.parent))
        for each in header_imports(self._file, self._file.parent):
            if not self._findings.leads_to(each.module):
                with suppress(Exception):  # the app's own import will say so
                    each.run()
        sys.path.remove(str(self._file.parent))

    def _stop_before(self, module: str) -> None:
        """Go on in forks only, if a module is left to them."""
        everything = self._findings.left.get(ALL) if module == APP else None
        left = everything or self._findings.left.get(module)
        if left is None or self._server.is_fork:
            return
        name = module if left.is_own else module.partition(".")[0]
        if not self._fork(f"{name or self._file.name} itself, which {left.reason}"):
            self._server.exit()

    def _fork(self, left: str) -> bool:
        """Fork workers off here, or say why that must not be.

        Args:
            left: what each fork imports, in words.

        Returns:
            Whether this is a fork; else it is this process itself, at its end.
        """
        shutdown_callbacks.take()
        if blockers := self._blockers():
            self._findings.add(blockers, self._watch)
            self._server.refuse(blockers[0].reason)
        is_fork = self._server.run(Ready(left=left, proven=self._findings.proven), self._findings.prove)
        self._watch.end()
        if not is_fork:
            shutdown_callbacks.run()
        return is_fork

    def _blockers(self) -> list[Blocker]:
        """Why this process must not be forked; what the app makes anew in each fork is no reason."""
        found = self._server.blockers()
        if self._on_fork is None:
            return found
        return [each for each in found if not (each.renewable and all(map(self._is_the_app_s, each.resources)))]

    def _is_the_app_s(self, resource: Resource) -> bool:
        """Whether it is one of the app's own files that has left something behind."""
        return is_own((self._watch.left_by(resource) or (APP,))[-1])


def _file_of(target: str) -> Path:
    """The file of an app; one that is a module's may not be there."""
    place = target.partition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    file = Path.cwd().joinpath(*place.split("."))
    return file / "__init__.py" if file.is_dir() else file.with_name(f"{file.name}.py")
