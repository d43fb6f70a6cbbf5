"""The order in which a request passes what stands before the app, and why."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ..draining import ConnectionTracker
from ..loading import is_dependency, is_shiny
from ..options import WorkerOptions
from .assets import AssetMiddleware
from .compression import CompressedFiles
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
    page = options.path if is_shiny(loaded) else ""
    # Counts what is open, so it stands before all that answers.
    tracker = ConnectionTracker(app, options.max_sessions, page)
    # Within the tracker: files are answered, marked and compressed by whole path.
    if options.cache is not None:
        cache = options.cache
        lib = f"{options.path}lib/" if page else ""
        files = CompressedFiles(Path(cache.folder), cache.room)
        known = functools.partial(is_dependency, loaded)
        tracker.app = assets = AssetMiddleware(app, lib, known, cache.paths, files, cache.max_age)
        tracker.on_drain = assets.stop_marking
    return tracker
