"""What one worker process does, from its arguments to its end."""

from __future__ import annotations

import argparse
import faulthandler
import functools
import os
import socket
import sys
from pathlib import Path

from .assets import Assets
from .compression import Store
from .launcher import Launcher
from .loading import LoadError, is_dependency, is_shiny, load, readable_traceback
from .parent import DESCRIPTORS, Parent
from .sessions import SessionTags

LOAD_FAILED = 3


def main() -> int:
    """Run one incarnation, or the parent that they are forked off; the launcher gives every argument."""
    options = _options(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    launcher = Launcher(options.control_fd, options.output_fd, options.log_fd)
    parent = Parent(options.name, launcher, options.pid_fd) if options.parent else None
    if parent is None:
        launcher.watch()
    faulthandler.enable()  # a hung worker is ended by SIGABRT: its stacks go to the log

    try:
        from .serving import Gate, Mounted, load_server, serve
    except ImportError:
        launcher.tell(
            "failed", text=f"{sys.executable} has no uvicorn; install it there: pip install shiny uvicorn"
        )
        return LOAD_FAILED
    try:
        app = load(options.target)
    except LoadError as error:
        launcher.tell("failed", text=str(error))
        return LOAD_FAILED
    except BaseException as error:  # the app's own code may even call sys.exit()
        launcher.tell("failed", text=f"{options.target} cannot be imported.", traceback=readable_traceback(error))
        return LOAD_FAILED

    if parent is not None:
        if reason := parent.why_not():
            launcher.tell("unforkable", reason=reason)
            parent.end_unforked()
        load_server()
        arguments = parent.run()
        if arguments is None:
            return 0
        # From here on this is a fork, and does as if it had been spawned.
        options = _options(arguments)
        launcher = Launcher(options.control_fd, options.output_fd, options.log_fd)
        launcher.watch()

    shiny = app
    page = options.path if is_shiny(app) else ""
    app = SessionTags(app, options.name)
    if options.path != "/":
        app = Mounted(app, options.path.rstrip("/"))
    gate = Gate(app, options.max_sessions, page)
    if options.store:
        lib = f"{options.path}lib/" if page else ""
        store = Store(options.store, options.store_room)
        known = functools.partial(is_dependency, shiny)
        gate.app = assets = Assets(app, lib, known, options.keep, store, options.max_age)
        gate.on_drain = assets.leave
    listener = socket.socket(fileno=options.listen_fd)
    serve(gate, listener, launcher, options.stop_timeout, options.drain_timeout)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    """The arguments of a worker or parent; programs that the app starts do not inherit their descriptors."""
    parser = argparse.ArgumentParser(description="One worker process; started by the launcher.")
    parser.add_argument("name", help="of the incarnation, or the parent")
    parser.add_argument("--parent", action="store_true", help="import the app, and fork its workers")
    parser.add_argument("--target", required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--stop-timeout", type=float, default=0)
    parser.add_argument("--drain-timeout", type=float, default=0)
    parser.add_argument("--max-sessions", type=int, default=0, help="0 is no limit")
    parser.add_argument("--store", type=Path, help="of compressed files; none: nginx keeps no files")
    parser.add_argument("--store-room", type=int, default=0, help="bytes")
    parser.add_argument("--keep", action="append", default=[], metavar="PATH", help="a file, or a folder/, to keep")
    parser.add_argument("--max-age", type=int, default=0, help="seconds that browsers keep Shiny's own files")
    for name in DESCRIPTORS:
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args(arguments)
    for name in DESCRIPTORS:
        descriptor = getattr(options, name.replace("-", "_"))
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
    return options
