"""The order in which a request passes what stands before the app, and why."""

from __future__ import annotations

import functools

from ..asgi import ASGIApp
from ..draining import ConnectionTracker, WorkerState
from ..loading import is_dependency, is_shiny
from ..options import WorkerOptions
from .assets import AssetMiddleware
from .root_path import RootPathMiddleware
from .session_tags import SessionTagMiddleware


def build(loaded: ASGIApp, options: WorkerOptions, state: WorkerState) -> ASGIApp:
    """Put an app behind its middleware.

    Args:
        loaded: the ASGI app.
        options: the worker's.
        state: in which the outermost counts what is open.
    """
    lib = f"{options.path}lib/" if is_shiny(loaded) else ""
    of_loaded = functools.partial(is_dependency, loaded)

    # From the inside, next to the app, to the outside, next to uvicorn:
    app: ASGIApp = SessionTagMiddleware(loaded, options.name)  # the app sees its own ids, whatever is around
    if options.path != "/":  # outside of the tags, which are looked for in whole paths
        app = RootPathMiddleware(app, options.path.rstrip("/"))
    if options.cache is not None:  # outside of both, as it answers by whole path, too
        app = AssetMiddleware(app, state, options.cache, lib, of_loaded)
    return ConnectionTracker(app, state)  # outside of all that answers, to count that as well
