"""The control channel: HTTP on a unix socket in run_dir that only the launcher's user can open.

====== =================== =================================================
GET    ``/status``         what runs, as JSON
POST   ``/reload``         a deploy; answers when it is done
POST   ``/restart/app2``   replaces one worker; answers when it is done
POST   ``/say/<text>``     has all pages show it; none if it is empty
POST   ``/restart``        a handover to a new launcher; answers when that may begin
====== =================== =================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from shiny_sticky import program
from shiny_sticky.errors import SettingsError, StickyError
from shiny_sticky.supervision.status import SiteStatus
from shiny_sticky.supervision.supervisor import Supervisor

SOCKET = "control.sock"

# Seconds in which a launcher answers what it need only look up.
ANSWER_SECONDS = 20

# Seconds between two looks whether a new launcher answers; nothing tells.
POLL_SECONDS = 0.1


def listen(run_dir: Path) -> socket.socket:
    """Open the control socket.

    Raises:
        StickyError: it cannot be opened.
    """
    path = run_dir / SOCKET
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except OSError as error:
        raise StickyError(f"The control socket {path} cannot be opened: {error.strerror}") from None
    return listener


async def serve(supervisor: Supervisor, listener: socket.socket) -> None:
    """Answer on the control socket, until cancelled.

    Args:
        supervisor: whose state is shown, and who does what is asked.
        listener: the open control socket.
    """
    # Loaded while the workers serve already: a web framework takes a moment to import.
    import uvicorn
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def status(_: Request) -> Response:
        return JSONResponse(dataclasses.asdict(SiteStatus.of(supervisor.site)))

    async def reload(_: Request) -> Response:
        return await answer(supervisor.deploy())

    async def restart(request: Request) -> Response:
        return await answer(supervisor.restart(request.path_params["worker"]))

    async def say(request: Request) -> Response:
        return await answer(supervisor.site.announce(request.path_params["text"]))

    async def hand_over(_: Request) -> Response:
        return await answer(supervisor.prepare_handover(), BackgroundTask(supervisor.hand_over))

    async def answer(operation: Awaitable[str], then: BackgroundTask | None = None) -> Response:
        try:
            return JSONResponse({"done": await operation}, background=then)
        except StickyError as error:
            trace = getattr(error, "traceback", "")
            return JSONResponse({"error": str(error), "traceback": trace, "exit": error.exit_code}, status_code=409)

    app = Starlette(
        routes=[
            Route("/status", status),
            Route("/reload", reload, methods=["POST"]),
            Route("/say/{text:path}", say, methods=["POST"]),
            Route("/restart", hand_over, methods=["POST"]),
            Route("/restart/{worker}", restart, methods=["POST"]),
        ]
    )

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # they are the supervisor's

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", ws="none")
    await Server(config).serve(sockets=[listener])


def clean(run_dir: Path) -> None:
    """Remove the control socket; what else stands in its place has been named."""
    with contextlib.suppress(OSError):
        (run_dir / SOCKET).unlink()


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket, whose other end is a launcher."""

    def __init__(self, path: Path) -> None:
        super().__init__("launcher")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))
        _refuse_if_stopped(_peer_of(self.sock))


def _peer_of(connection: socket.socket) -> int:
    """The process at the other end of a unix socket, as the kernel says; 0 where it does not (not Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)


def _refuse_if_stopped(pid: int) -> None:
    """Wait for nothing from a launcher that was stopped by a signal: Ctrl-Z, kill -STOP."""
    with contextlib.suppress(psutil.Error):
        if pid and psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            raise StickyError(f"The launcher (pid {pid}) is stopped. Let it go on: kill -CONT {pid}")


def call(run_dir: Path, method: str, path: str) -> dict[str, Any]:
    """Ask the running launcher.

    Args:
        run_dir: its folder.
        method: of the request.
        path: and what is asked for.

    Returns:
        What it answers.

    Raises:
        StickyError: no launcher runs there, or it could not do it.
    """
    connection = _Connection(run_dir / SOCKET)
    try:
        connection.request(method, quote(path))
        if method != "GET":  # what is to be done may take long
            connection.sock.settimeout(None)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except PermissionError:
        raise StickyError(
            f"What runs in {run_dir} is another user's, and only that user and root may ask: sudo {program.again()}"
        ) from None
    except TimeoutError:
        raise StickyError(
            f"The launcher has not answered in {run_dir} within {ANSWER_SECONDS} s. See: {program.name()} logs"
        ) from None
    except (OSError, http.client.HTTPException):
        raise StickyError(f"No launcher answers in {run_dir}. Start one: {program.name()} config.yaml") from None
    finally:
        connection.close()
    if response.status != 200:
        text = "\n".join(part for part in (answer.get("traceback", "").rstrip(), answer["error"]) if part)
        raise SettingsError(text.splitlines()) if answer["exit"] == SettingsError.exit_code else StickyError(text)
    return answer


def restart_launcher(run_dir: Path) -> str:
    """Have the running launcher make way for a new one, and wait until that serves.

    Args:
        run_dir: its folder.

    Returns:
        What was done, in a sentence.

    Raises:
        StickyError: no launcher runs there, the new one would not come up, or it has not.
    """
    old = call(run_dir, "GET", "/status")["launcher"]
    call(run_dir, "POST", "/restart")
    while _runs(old["pid"]):
        with contextlib.suppress(StickyError):  # it does not listen yet, or does not answer yet
            if call(run_dir, "GET", "/status")["launcher"]["since"] != old["since"]:
                return f"A new launcher serves (pid {old['pid']}); the sessions of earlier workers go on"
        time.sleep(POLL_SECONDS)
    raise StickyError(
        "The new launcher has ended; its output says why. nginx and the workers serve on. "
        f"When that is mended, start it: {program.name()} config.yaml"
    )


def _runs(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
