"""The control channel: HTTP on a unix socket in run_dir that only the launcher's user can open.

====== =================== =================================================
GET    ``/status``         what runs, as JSON
POST   ``/reload``         a deploy; answers when it is done
POST   ``/restart/app2``   replaces one worker; answers when it is done
====== =================== =================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shiny_sticky.errors import SettingsError, StickyError
from shiny_sticky.supervision.status import SiteStatus
from shiny_sticky.supervision.supervisor import Supervisor

SOCKET = "control.sock"


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
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def status(_: Request) -> Response:
        return JSONResponse(dataclasses.asdict(SiteStatus.of(supervisor.site)))

    async def reload(_: Request) -> Response:
        return await answer(supervisor.deploy())

    async def restart(request: Request) -> Response:
        return await answer(supervisor.restart(request.path_params["worker"]))

    async def answer(operation: Awaitable[str]) -> Response:
        try:
            return JSONResponse({"done": await operation})
        except StickyError as error:
            trace = getattr(error, "traceback", "")
            return JSONResponse({"error": str(error), "traceback": trace, "exit": error.exit_code}, status_code=409)

    app = Starlette(
        routes=[
            Route("/status", status),
            Route("/reload", reload, methods=["POST"]),
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
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("launcher")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


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
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, http.client.HTTPException):
        raise StickyError(f"No launcher answers in {run_dir}. Start it: python launcher.py config.yaml") from None
    finally:
        connection.close()
    if response.status != 200:
        text = "\n".join(part for part in (answer.get("traceback", "").rstrip(), answer["error"]) if part)
        raise SettingsError(text.splitlines()) if answer["exit"] == SettingsError.exit_code else StickyError(text)
    return answer
