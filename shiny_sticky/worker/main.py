"""What one process does, from its arguments to its end: a worker, or a fork server that forks workers."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import sys
from contextlib import suppress

from . import shutdown_callbacks
from .asgi import ASGIApp
from .control_channel import ControlChannel
from .draining import WorkerState
from .fork_server import ForkServer
from .loading import LoadError, is_shiny, load, readable_traceback
from .middleware import stack
from .options import Descriptors, WorkerOptions
from .protocol import Failed, Unforkable
from .visitors import Visitors

LOAD_FAILED = 3


def main() -> int:
    """Run one process.

    Its arguments are its name, for people to find it by, and its options (:class:`.options.WorkerOptions`) as JSON.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    options = WorkerOptions.from_json(sys.argv[2])
    return run_fork_server(options) if options.forks else run_worker(options)


def run_worker(options: WorkerOptions) -> int:
    """Import the app and serve it."""
    channel = ControlChannel(_own_descriptors(options))
    channel.watch(options.log_size)
    app = _load(options.target, channel)
    return LOAD_FAILED if app is None else serve_app(app, options, channel)


def run_fork_server(options: WorkerOptions) -> int:
    """Import the app, and fork workers off this process; each of them returns from here as well, at its end."""
    descriptors = _own_descriptors(options)
    channel = ControlChannel(descriptors)
    server = ForkServer(options.name, channel, descriptors.pid_file)
    app = _load(options.target, channel)
    if app is None:
        return LOAD_FAILED
    shutdown_callbacks.take()
    if reason := server.fork_blocker():
        channel.tell(Unforkable(reason))
        shutdown_callbacks.run()
        server.exit_without_forking()
    from .server import load_server

    load_server()
    forked = server.run()
    if forked is None:
        shutdown_callbacks.run()
        return 0
    # From here on this is a fork, and does as if it had been spawned.
    channel = ControlChannel(_own_descriptors(forked))
    channel.watch(forked.log_size)
    return serve_app(app, forked, channel)


def serve_app(app: ASGIApp, options: WorkerOptions, channel: ControlChannel) -> int:
    """Serve a loaded app until the worker is to end."""
    from .server import serve

    state = WorkerState(Visitors(options.name, options.cookie), options.max_sessions)
    page = options.path if is_shiny(app) else ""
    serve(stack.build(app, options, state), state, channel, options, page)
    return 0


def _load(target: str, channel: ControlChannel) -> ASGIApp | None:
    """The app; None if it cannot be had, and then the launcher knows why."""
    faulthandler.enable()  # a hung worker is ended by SIGABRT: its stacks go to the log
    try:
        import uvicorn  # noqa: F401
    except ImportError:
        channel.tell(Failed(f"{sys.executable} has no uvicorn; install it there: pip install shiny uvicorn"))
        return None
    try:
        return load(target)
    except LoadError as error:
        channel.tell(Failed(str(error)))
    except ModuleNotFoundError as error:
        text = (
            f"{target} cannot be imported: {sys.executable} has no {error.name}. Install it there "
            f"({sys.executable} -m pip install ...), or let another interpreter serve the app: "
            "--python, or `python` of the app in the settings."
        )
        channel.tell(Failed(text, readable_traceback(error)))
    except BaseException as error:  # the app's own code may even call sys.exit()
        channel.tell(Failed(f"{target} cannot be imported.", readable_traceback(error)))
    return None


def _own_descriptors(options: WorkerOptions) -> Descriptors:
    """The descriptors of this process; programs that the app starts do not inherit them.

    By the lock on its pid file a later launcher finds this process, and nobody but the kernel can tell whose it is.
    """
    assert options.descriptors is not None
    for descriptor in options.descriptors.all():
        os.set_inheritable(descriptor, False)
    with suppress(OSError):  # a file system without locks
        fcntl.lockf(options.descriptors.pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return options.descriptors
