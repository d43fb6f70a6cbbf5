"""The order in which a request passes what stands before the app, and why."""

from __future__ import annotations

import functools
from pathlib import Path

from .. import dependencies, flushes, last_bookmark, nginx_cache, shiny_apps, upload_handover
from ..asgi import ASGIApp
from ..dependencies import DependencyNotes
from ..draining import ConnectionTracker, WorkerState
from ..loading import is_dependency, is_shiny
from ..options import ResumeOptions, WorkerOptions
from ..resume.middleware import ResumeMiddleware
from ..resume.session import Limits
from ..resume.sessions import Sessions
from ..uploads import Uploads
from .accel import AccelMiddleware
from .assets import AssetMiddleware
from .autoreload import AutoreloadMiddleware
from .bookmarks import BookmarkMiddleware, has_bookmarks
from .dependencies import DependencyMiddleware
from .empty_flushes import EmptyFlushMiddleware
from .framing import FramingMiddleware
from .page_scripts import FOLDER, PageScriptMiddleware
from .preloads import PreloadMiddleware
from .repeated_uploads import RepeatedUploadMiddleware
from .root_path import RootPathMiddleware
from .session_tags import SessionTagMiddleware
from .waiting_room import WaitingRoomMiddleware


def build(loaded: ASGIApp, options: WorkerOptions, state: WorkerState) -> ASGIApp:
    """Put an app behind its middleware.

    Args:
        loaded: the ASGI app.
        options: the worker's.
        state: in which the outermost counts what is open.
    """
    lib = f"{options.path}lib/" if is_shiny(loaded) else ""
    notes = _notes(options)

    def of_loaded(folder: str) -> bool:
        return is_dependency(loaded, folder) or folder == FOLDER or (notes is not None and notes.knows(folder))

    # From the inside, next to the app, to the outside, next to uvicorn:
    app = _shinys_own(loaded, options) if shiny_apps.imported() else loaded
    app = SessionTagMiddleware(app, options.name)  # the app sees its own ids, whatever is around
    if options.path != "/":  # outside of the tags, which are looked for in whole paths
        app = RootPathMiddleware(app, options.path.rstrip("/"))
    if notes is not None:  # outside of both: what the app itself has not found is looked for by whole path
        app = DependencyMiddleware(app, notes, options.name.partition(".")[0], options.cache is not None)
    if _resumes(options) and shiny_apps.imported():  # outside of the app, whose pages it changes
        app = PageScriptMiddleware(RepeatedUploadMiddleware(app), options.notices, options.reconnect)
    if lib:  # outside of all that finds files, to ask for the page's style sheets as a browser would
        app = PreloadMiddleware(app, options.path)
    app = AccelMiddleware(app)  # outside of the app, whose headers it takes, and inside of what sets one itself
    if options.cache is not None:  # outside of all that finds files, to mark and compress what any of them answers
        current = functools.partial(nginx_cache.is_current, options.link, options.name)
        app = AssetMiddleware(app, current, options.cache, lib, of_loaded)
    return _counted(app, options, state)


def _shinys_own(app: ASGIApp, options: WorkerOptions) -> ASGIApp:
    """Put an app behind what has to do with Shiny's sessions, of which some part of it is made."""
    if not options.empty_flushes:  # innermost: what is not sent passes nothing else
        flushes.shorten()
        app = EmptyFlushMiddleware(app)
    if _resumes(options) and options.reconnect != "off":  # outside of that, inside of what gives sessions other ids
        app = _keeping_what_pages_had(app, options)
    return app


def _counted(app: ASGIApp, options: WorkerOptions, state: WorkerState) -> ASGIApp:
    """Put an app that answers everything behind what has to do with connections."""
    if options.max_sessions:  # outside of all that changes the app's answers, of which the page to wait on is none
        app = WaitingRoomMiddleware(app, state, options.path)
    if options.frame_ancestors:  # outside of all that answers with what may be shown
        app = FramingMiddleware(app, options.frame_ancestors)
    app = ConnectionTracker(app, state)  # outside of all that answers, to count that as well
    if options.resume is not None:  # outside of what counts sessions: of a session it lets in the first connection
        app = _resumable(app, options.name, options.resume, state)
    if options.release:  # outside even of that: it is no session, and nothing that a draining process waits for
        app = AutoreloadMiddleware(app, state, options.path, options.release)
    return app


def _resumes(options: WorkerOptions) -> bool:
    """Whether sessions wait for their pages."""
    return options.resume is not None and options.resume.timeout > 0


def _resumable(app: ASGIApp, name: str, options: ResumeOptions, state: WorkerState) -> ASGIApp:
    """Let sessions outlive their connections."""
    sessions = Sessions(Limits(options.timeout, options.buffer), options.max_suspended, state)
    return ResumeMiddleware(app, name, sessions, [header.lower().encode() for header in options.user_headers])


def _keeping_what_pages_had(app: ASGIApp, options: WorkerOptions) -> ASGIApp:
    """Let Shiny's sessions take over the uploaded files and bookmarks of those that their pages had before."""
    run_dir, kept = Path(options.link).parent, Path(options.kept)

    def runs(process: str) -> bool:
        return (run_dir / f"{process}.sock").exists()  # the launcher removes a dead one's

    upload_handover.watch(Uploads(kept / "uploads", options.name, runs))
    if has_bookmarks():
        last_bookmark.use_folder(kept / "bookmarks")
        app = BookmarkMiddleware(app)
    return app


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
