"""One worker process: loads the app and serves it with uvicorn on the socket that the launcher bound.

This file runs in the app's own interpreter, which needs uvicorn (and shiny, for Shiny apps) and nothing
else: it imports nothing of the package, and is started by its path, not by its name. Python 3.9 or later.
"""

from __future__ import annotations

import os
import sys

# Python puts the script's folder first. Its modules must not stand in the way of the app's own.
if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]

import argparse
import importlib
import importlib.util
import inspect
import json
import re
import socket
import threading
import traceback
from pathlib import Path
from typing import Any

LOAD_FAILED = 3

# nginx closes idle connections to a worker after 60 s. The worker waits longer, so that it never closes one
# that nginx is just sending a request on: a POST could not be repeated.
KEEP_ALIVE_SECONDS = 75


class LoadError(Exception):
    """The target is there, but is not what it should be."""


def load(target: str) -> Any:
    """Load an app.

    Args:
        target: a Shiny file, Core or Express, with an attribute behind a colon if it is not ``app``; or
            module:attribute.

    Returns:
        The ASGI app.

    Raises:
        LoadError: it is no ASGI app, or the attribute is missing.
        Exception: whatever the app's own code raises.
    """
    place, _, attribute = target.partition(":")
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        app = _attribute(importlib.import_module(place), attribute, target)
    else:
        file = Path(place)
        sys.path.insert(0, str(file.parent))
        if not attribute and _is_express(file):
            from shiny.express import wrap_express_app

            return wrap_express_app(file)
        app = _attribute(_module_of(file), attribute or "app", target)
    _check_asgi(app, target)
    return app


def _is_express(file: Path) -> bool:
    try:
        from shiny.express import is_express_app
    except ImportError:  # an ASGI app in an interpreter without shiny
        return False
    return is_express_app(str(file), None)


def _module_of(file: Path) -> Any:
    """Import a file under its own name, as `shiny run` does, unless a module of that name is loaded already."""
    name = file.stem if file.stem not in sys.modules else "sticky_" + re.sub(r"\W", "_", file.stem)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: Any, dotted: str, target: str) -> Any:
    found = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            raise LoadError(f"{target} has no {dotted!r}. A Shiny Core file ends with `app = App(app_ui, server)`.")
        found = getattr(found, name)
    return found


def _check_asgi(app: Any, target: str) -> None:
    """Raise LoadError unless the object can be called as ASGI 3 asks: ``app(scope, receive, send)``."""
    problem = f"{target} is no ASGI app, but "
    if not callable(app):
        raise LoadError(f"{problem}of type {type(app).__name__}.")
    if inspect.isclass(app):
        raise LoadError(f"{problem}a class; name an object of it.")
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        hint = " It looks like WSGI (Flask, Django): wrap it with a2wsgi." if _takes(app, 2) else ""
        raise LoadError(f"{problem}cannot be called with scope, receive, send.{hint}") from None
    except ValueError:  # no signature to be had: written in C
        return


def _takes(app: Any, arguments: int) -> bool:
    try:
        inspect.signature(app).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return False
    return True


class Mounted:
    """Tells an app which path it is mounted at: ASGI's ``root_path``, which stands at the start of ``path``.

    Args:
        app: the ASGI app.
        path: such as ``/foo``, with no slash at its end.
    """

    def __init__(self, app: Any, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "root_path": self.path}
        await self.app(scope, receive, send)


class Launcher:
    """The process that started this one, at the other end of a socket; it may die, and the worker goes on.

    Args:
        control: says when the worker is ready or why it is not; its end is the launcher's.
        output: the pipe that standard output goes to, for reading. Held open here, it saves a worker whose
            launcher has died from writing into a broken pipe.
        log: a file that takes standard output from then on.
    """

    def __init__(self, control: int, output: int, log: int) -> None:
        self._control = socket.socket(fileno=control)
        self._output = output
        self._log = log

    def watch(self) -> None:
        """Begin to wait for the launcher's end, in a thread."""
        threading.Thread(target=self._outlive, name="sticky-launcher", daemon=True).start()

    def tell(self, event: str, **details: object) -> None:
        """Send the launcher one line of JSON; nothing happens if it is gone."""
        try:
            self._control.sendall(json.dumps({"event": event, **details}).encode() + b"\n")
        except OSError:
            pass

    def _outlive(self) -> None:
        try:
            while self._control.recv(4096):
                pass
        except OSError:
            pass
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        os.set_blocking(self._output, True)
        while text := os.read(self._output, 65536):  # what the launcher had not read any more
            os.write(self._log, text)


class Corked:
    """A transport that gathers what is written in one step of the event loop, and sends it in one piece.

    Uvicorn writes a response's head and body one after the other. A worker killed in between would leave nginx
    with a head and no body: too late to ask another worker for the page. It also saves a system call.

    Args:
        transport: the real one; all but writing goes straight to it.
        loop: the event loop.
    """

    # More than this is sent at once, so that streams are not copied together.
    LARGEST = 64 * 1024

    def __init__(self, transport: Any, loop: Any) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, together with what else is written in this step."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)
        self._size += len(data)
        if self._size > self.LARGEST:
            self._flush()

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending, self._size = [], 0
            self._transport.write(data)


def corked(protocol: Any) -> Any:
    """A uvicorn HTTP protocol class that writes through :class:`Corked`."""

    class CorkedProtocol(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Corked(transport, self.loop))

    return CorkedProtocol


def serve(app: Any, listener: socket.socket, launcher: Launcher, stop_timeout: int) -> None:
    """Serve an app until SIGTERM.

    Args:
        app: the ASGI app.
        listener: a bound unix socket.
        launcher: is told when the app answers.
        stop_timeout: seconds that open requests get at the end.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                launcher.tell("ready")

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # nginx writes one
        server_header=False,
        forwarded_allow_ips="*",  # nobody but nginx can reach the socket
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop_timeout,
    )
    config.load()
    config.http_protocol_class = corked(config.http_protocol_class)
    Server(config).run(sockets=[listener])


def readable_traceback(error: BaseException) -> str:
    """The traceback without the frames of this file and of Python's import machinery."""
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if frame.filename != __file__ and "importlib" not in frame.filename]
    )
    return "".join(shown.format())


def main() -> int:
    """Run one incarnation; the launcher gives every argument."""
    parser = argparse.ArgumentParser(description="One worker process; started by the launcher.")
    parser.add_argument("incarnation")
    parser.add_argument("--target", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--stop-timeout", type=int, required=True)
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

    try:
        import uvicorn  # noqa: F401
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
    if options.path != "/":
        app = Mounted(app, options.path.rstrip("/"))
    serve(app, socket.socket(fileno=options.listen_fd), launcher, options.stop_timeout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
