"""The control channel: HTTP on a unix socket in run_dir that only the launcher's user can open.

====== =================== =================================================
GET    ``/status``         what runs, as JSON
POST   ``/reload``         a deploy; answers when it is done
POST   ``/restart/app2``   replaces one worker; answers when it is done
====== =================== =================================================
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil

from shiny_sticky import processes
from shiny_sticky.errors import SettingsError, StickyError
from shiny_sticky.supervision.incarnation import Incarnation

if TYPE_CHECKING:
    from shiny_sticky.supervision.slot import Worker
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
        return JSONResponse(report(supervisor))

    async def reload(_: Request) -> Response:
        return await answer(supervisor.deploy())

    async def restart(request: Request) -> Response:
        return await answer(supervisor.restart(request.path_params["worker"]))

    async def answer(doing: Any) -> Response:
        try:
            return JSONResponse({"done": await doing})
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
    """Remove the control socket."""
    (run_dir / SOCKET).unlink(missing_ok=True)


def report(supervisor: Supervisor) -> dict[str, Any]:
    """What runs: times are Unix times in seconds, memory is resident bytes, cpu seconds in all."""
    return {
        "launcher": {"pid": os.getpid(), "since": supervisor.since},
        "nginx": None if supervisor.front is None else {"pid": supervisor.front.pid},
        "listen": list(supervisor.settings.listen),
        "workers": [_worker(worker) for worker in supervisor.all_workers],
        "parents": [
            {"app": parent.app_name, "pid": parent.pid, "memory": processes.memory(parent.pid)}
            for parent in supervisor.parents
            if parent.pid is not None
        ],
    }


def _worker(worker: Worker) -> dict[str, Any]:
    incarnations = [(worker.current, "serving"), *((old, "draining") for old in worker.draining)]
    return {
        "name": worker.name,
        "app": worker.app_name,
        "restarts": worker.restarts,
        "incarnations": [
            _incarnation(one, state if one.alive else "ended") for one, state in incarnations if one is not None
        ],
    }


def _incarnation(one: Incarnation, state: str) -> dict[str, Any]:
    memory, cpu = 0, 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(one.pid)
        memory, times = process.memory_info().rss, process.cpu_times()
        cpu = times.user + times.system
    return {
        "name": one.name,
        "pid": one.pid,
        "state": state,
        "since": one.started_at,
        "sessions": one.sessions,
        "sessions_served": one.sessions_served,
        "memory": memory,
        "cpu": round(cpu, 2),
    }


def table(status: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A status as columns and rows for people."""
    columns = ["worker", "process", "pid", "state", "sessions", "served", "memory", "cpu", "restarts", "up"]
    rows = []
    for worker in status["workers"]:
        for one in worker["incarnations"]:
            rows.append(
                [
                    worker["name"],
                    one["name"],
                    str(one["pid"]),
                    one["state"],
                    str(one["sessions"]),
                    str(one["sessions_served"]),
                    f"{one['memory'] / (1 << 20):.0f} MB",
                    f"{one['cpu']:.1f} s",
                    str(worker["restarts"]),
                    duration(time.time() - one["since"]),
                ]
            )
    return columns, rows


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``5 min``, ``3 h``, ``2 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


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
