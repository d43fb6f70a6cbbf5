"""What one process does, from its arguments to its end: a worker, or a fork server that forks workers."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable
from typing import TypeVar

from . import privileges, shiny_apps
from .asgi import ASGIApp
from .control_channel import ControlChannel
from .draining import WorkerState
from .fork_server import ForkServer
from .loading import LoadError, is_shiny, load, readable_traceback
from .middleware import stack
from .options import WorkerOptions
from .protocol import Failed
from .shared_import import SharedImport
from .visitors import Visitors

LOAD_FAILED = 3

T = TypeVar("T")


def main() -> int:
    """Run one process.

    Its arguments are its name, for people to find it by, and its options (:class:`.options.WorkerOptions`) as JSON.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    privileges.give_up_ports()
    options = WorkerOptions.from_json(sys.argv[2])
    return run_fork_server(options) if options.forks else run_worker(options)


def run_worker(options: WorkerOptions) -> int:
    """Import the app and serve it."""
    channel = ControlChannel.of(options)
    channel.watch(options.log_size, options.inbox)
    loaded = _told(lambda: load(options.target), options.target, channel.tell)
    shiny_apps.collect()
    return serve_app(loaded.app, options, channel)


def run_fork_server(options: WorkerOptions) -> int:
    """Import the app, and fork workers off this process; each of them returns from here as well, at its end."""
    server = ForkServer(options)
    loaded = _told(SharedImport(options, server).load, options.target, server.tell)
    if loaded is None:
        return 0
    # From here on this is a fork, and does as if it had been spawned.
    # One that is for one session is spared the memory that a page takes which nobody has asked for, once it is
    # known that forks of this app can make pages.
    return serve_app(loaded.app, server.options, server.channel, not (server.options.isolated and server.proven))


def serve_app(app: ASGIApp, options: WorkerOptions, channel: ControlChannel, renders: bool = True) -> int:
    """Serve a loaded app until the worker is to end.

    Args:
        app: the ASGI app.
        options: the worker's.
        channel: to the launcher.
        renders: whether a Shiny app's page is rendered before anybody asks for it.
    """
    from .server import serve

    state = WorkerState(options.max_sessions, Visitors(options.name, options.cookie), options.isolated)
    page = options.path if is_shiny(app) else ""
    serve(stack.build(app, options, state), state, channel, options, page, renders)
    return 0


def _told(load: Callable[[], T], target: str, tell: Callable[[object], None]) -> T:
    """What the import of an app gives.

    Args:
        load: imports it.
        target: as people know it.
        tell: tells the launcher why it cannot be had.

    Raises:
        SystemExit: it cannot be had, and the launcher knows.
    """
    faulthandler.enable()  # a hung worker is ended by SIGABRT: its stacks go to the log
    try:
        import uvicorn  # noqa: F401
    except ImportError:
        tell(Failed(f"{sys.executable} has no uvicorn; install it there: pip install shiny uvicorn"))
        sys.exit(LOAD_FAILED)
    try:
        return load()
    except LoadError as error:
        tell(Failed(str(error)))
    except ModuleNotFoundError as error:
        text = (
            f"{target} cannot be imported: {sys.executable} has no {error.name}. Install it there "
            f"({sys.executable} -m pip install ...), or let another interpreter serve the app: "
            "--python, or `python` of the app in the settings."
        )
        tell(Failed(text, readable_traceback(error)))
    except BaseException as error:  # the app's own code may even call sys.exit()
        tell(Failed(f"{target} cannot be imported.", readable_traceback(error)))
    sys.exit(LOAD_FAILED)
