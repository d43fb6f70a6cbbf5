"""The order in which a request passes what stands before the app, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import dependencies, nginx_cache, shiny_apps
from ..dependencies import DependencyNotes
from ..draining import ConnectionTracker
from ..loading import is_dependency, is_shiny
from ..options import WorkerOptions
from .assets import AssetMiddleware
from .compression import CompressedFiles
from .dependencies import DependencyMiddleware
from .root_path import RootPathMiddleware
from .session_tags import SessionTagMiddleware


def build(loaded: Any, options: WorkerOptions) -> ConnectionTracker:
    """Put an app behind its middleware, from the inside to the outside.

    Args:
        loaded: the ASGI app.
        options: the worker's.
    """
    # Shiny sees its own session ids, whatever stands around it.
    app: Any = SessionTagMiddleware(loaded, options.name)
    # The ids above are looked for in whole paths; the app gets the part of them that is its own.
    if options.path != "/":
        app = RootPathMiddleware(app, options.path.rstrip("/"))
    # Files are looked for by whole path, once the app itself has not found them.
    notes = _notes(options)
    if notes is not None:
        app = DependencyMiddleware(app, notes, options.name.partition(".")[0], options.cache is not None)
    page = options.path if is_shiny(loaded) else ""
    # Counts what is open, so it stands before all that answers.
    tracker = ConnectionTracker(app, options.max_sessions, page)
    # Within the tracker: files are answered, marked and compressed by whole path.
    if options.cache is not None:
        cache = options.cache
        lib = f"{options.path}lib/" if page else ""
        files = CompressedFiles(Path(cache.folder), cache.room)

        def known(folder: str) -> bool:
            return is_dependency(loaded, folder) or (notes is not None and notes.knows(folder))

        tracker.app = assets = AssetMiddleware(app, lib, known, cache.paths, files, cache.max_age)
        tracker.on_drain = assets.stop_marking
    return tracker


def _notes(options: WorkerOptions) -> DependencyNotes | None:
    """What all processes of the app have registered with Shiny; None if it has no part that is Shiny's."""
    apps = shiny_apps.imported()
    if options.dependencies is None or not apps:
        return None
    told = options.dependencies

    def forget(names: set[str]) -> None:
        if told.cache:
            nginx_cache.forget(Path(told.cache), names)

    notes = DependencyNotes(Path(told.folder), options.name, shiny_apps.imported_at(), forget)
    dependencies.watch(apps, notes)
    return notes
