"""What stands behind the fronts: a trivial nginx, an echo of websockets, or the demo under plain uvicorn."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from contestants import NGINX, QUIET_UVICORN, basics, nginx_running
from load import fetch
from programs import Program, folder, socket_answers

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "app" / "app.py"


def names(count: int) -> list[str]:
    """The workers' names, which are those of the sockets, too."""
    return [f"app{number}" for number in range(1, count + 1)]


def named(worker: str) -> list[str]:
    """The options by which uvicorn says who answers, as this project's workers do."""
    return ["--header", f"X-Sticky-Worker:{worker}"]


@contextlib.contextmanager
def trivial(count: int) -> Iterator[list[Path]]:
    """One nginx that listens on that many sockets, and answers each request with the socket's name."""
    with folder() as place:
        sockets = [place / f"{name}.sock" for name in names(count)]
        servers = "\n".join(
            f"server {{ listen unix:{file}; access_log off; keepalive_requests 100000000;"
            f' add_header X-Sticky-Worker {file.stem}; location / {{ return 200 "{file.stem}"; }} }}'
            for file in sockets
        )
        own = place / "backend"
        own.mkdir()
        text = f"{basics(own)}\n{servers}\n}}\n"
        with nginx_running([NGINX], own, text, lambda: socket_answers(sockets[-1])):
            yield sockets


@contextlib.contextmanager
def echo(count: int) -> Iterator[list[Path]]:
    """One process that echoes websockets' frames on that many sockets."""
    with folder() as place:
        sockets = [place / f"{name}.sock" for name in names(count)]
        command = [sys.executable, str(HERE / "echo.py"), *map(str, sockets)]
        with Program(command, place / "log") as program:
            program.ready(lambda: all(map(socket_answers, sockets)))
            yield sockets


def demo(count: int) -> contextlib.AbstractContextManager[list[Path]]:
    """The demo in that many plain uvicorn processes, each on a socket."""
    return uvicorns(count, DEMO)


@contextlib.contextmanager
def uvicorns(count: int, app: Path) -> Iterator[list[Path]]:
    """An app (a file) in that many plain uvicorn processes, each on a socket."""
    with folder() as place, contextlib.ExitStack() as stack:
        sockets = [place / f"{name}.sock" for name in names(count)]
        programs = []
        for file in sockets:
            command = [
                sys.executable,
                "-m",
                "uvicorn",
                f"{app.stem}:app",
                "--uds",
                str(file),
                *QUIET_UVICORN,
                *named(file.stem),
            ]
            program = Program(command, file.with_suffix(".log"), app.parent, {"STICKY_WORKER": file.stem})
            programs.append(stack.enter_context(program))
        for program, file in zip(programs, sockets, strict=True):
            program.ready(lambda file=file: socket_answers(file))
            fetch(file, "/")  # a Shiny process has the page's files once it has rendered the page
        yield sockets
