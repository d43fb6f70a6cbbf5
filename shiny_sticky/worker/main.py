"""What one worker process does, from its arguments to its end."""

from __future__ import annotations

import argparse
import faulthandler
import os
import socket
import sys

from .launcher import Launcher
from .loading import LoadError, is_shiny, load, readable_traceback
from .sessions import SessionTags

LOAD_FAILED = 3


def main() -> int:
    """Run one incarnation; the launcher gives every argument."""
    parser = argparse.ArgumentParser(description="One worker process; started by the launcher.")
    parser.add_argument("incarnation")
    parser.add_argument("--target", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--stop-timeout", type=float, required=True)
    parser.add_argument("--drain-timeout", type=float, required=True)
    parser.add_argument("--max-sessions", type=int, default=0, help="0 is no limit")
    descriptors = ("listen-fd", "control-fd", "output-fd", "log-fd", "pid-fd")
    for name in descriptors:
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()

    # Programs that the app starts have no business with these.
    for name in descriptors:
        os.set_inheritable(getattr(options, name.replace("-", "_")), False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    launcher = Launcher(options.control_fd, options.output_fd, options.log_fd)
    launcher.watch()
    faulthandler.enable()  # a hung worker is ended by SIGABRT: its stacks go to the log

    try:
        from .serving import Gate, Mounted, serve
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
    page = options.path if is_shiny(app) else ""
    app = SessionTags(app, options.incarnation)
    if options.path != "/":
        app = Mounted(app, options.path.rstrip("/"))
    gate = Gate(app, options.max_sessions, page)
    listener = socket.socket(fileno=options.listen_fd)
    serve(gate, listener, launcher, options.stop_timeout, options.drain_timeout)
    return 0
