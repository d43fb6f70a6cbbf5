"""Who hosts the app whose users are counted: each a whole installation, from the front to the workers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import backends
from contestants import CORES, QUIET_UVICORN, Hash
from programs import Missing, Program, folder, port_answers
from support.real_site import Site, free_port

# What this project is given besides the app, in its two forms.
AS_IT_COMES: dict[str, Any] = {"workers": {"min": CORES, "max": 64}}  # as `auto`, but for memory
AS_IT_WAS: dict[str, Any] = {"workers": 4, "empty_flushes": True}

ONE_EACH: dict[str, Any] = {"workers": {"min": CORES, "max": 256}, "isolation": "session"}

WORKERS = 4


@dataclass(frozen=True)
class Address:
    """Where an app is served: a port of 127.0.0.1, and a path."""

    port: int
    path: str = "/"


class Host:
    """Somebody who hosts an app.

    Attributes:
        key: its name in results.json.
        title: its name in the tables.
        needs_network: whether it installs something to begin with.
    """

    key = ""
    title = ""
    needs_network = False

    def serving(self, app: Path) -> contextlib.AbstractContextManager[Address]:
        """Serve an app within a ``with`` block.

        Raises:
            Missing: it cannot be had here.
        """
        raise NotImplementedError


class Ours(Host):
    """The project.

    Args:
        settings: of the app; without any, there are as many workers as are needed.
    """

    key = "ours"
    title = "**this project**"

    def __init__(self, **settings: Any) -> None:
        self.settings = settings or AS_IT_COMES
        if settings:
            told = ", ".join(f"{key}: {json.dumps(value)}" for key, value in settings.items())
            self.title = f"{self.title}, `{told}`"

    @contextlib.contextmanager
    def serving(self, app: Path) -> Iterator[Address]:
        """Start the launcher."""
        with Site({"app": {"target": str(app), **self.settings}}) as site:
            site.start()
            yield Address(site.port)


class OursAsItWas(Ours):
    """The project without what it does for many users."""

    key = "before"

    def __init__(self) -> None:
        super().__init__(**AS_IT_WAS)
        self.title = "this project, 4 workers, empty messages sent"


class OursIsolated(Ours):
    """The project with a process for each session."""

    key = "ours-isolated"

    def __init__(self) -> None:
        super().__init__(**ONE_EACH)
        self.title = "**this project**, `isolation: session`"


class Uvicorn(Host):
    """One process.

    Args:
        options: of its command line.
    """

    key = "uvicorn"
    title = "uvicorn alone"

    def __init__(self, *options: str) -> None:
        self.options = options
        if options:
            self.title = f"uvicorn `{' '.join(options)}`"

    @contextlib.contextmanager
    def serving(self, app: Path) -> Iterator[Address]:
        """Start uvicorn."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", f"{app.stem}:app", "--port", str(port), *QUIET_UVICORN]
        command += self.options
        with folder() as own, Program(command, own / "log", app.parent) as running:
            running.ready(lambda: port_answers(port))
            yield Address(port)


class HashOverUvicorn(Host):
    """What people do: nginx, and a uvicorn for each socket."""

    key = "hash"
    title = "nginx, `hash $cookie_sticky`, 4 × uvicorn"

    @contextlib.contextmanager
    def serving(self, app: Path) -> Iterator[Address]:
        """Start both."""
        with backends.uvicorns(WORKERS, app) as sockets, Hash(sockets).running() as front:
            yield Address(front.port)


class ShinyHub(Host):
    """ShinyHub with four replicas, and as many sessions for each as it allows to set."""

    key = "shinyhub"
    title = "ShinyHub, 4 replicas"
    needs_network = True
    program = Path(sys.executable).parent / "shinyhub"
    most_sessions = 1000

    # Known to this machine alone, for as long as it runs.
    token = "benchmark-deploy-token-0123456789abcdef"
    password = "benchmark-password"

    @contextlib.contextmanager
    def serving(self, app: Path) -> Iterator[Address]:
        """Start it in a folder of its own, and deploy the app there."""
        if not self.program.is_file() or not (self.program.parent / "uv").is_file():
            raise Missing("there is no shinyhub, or no uv, in .venv")
        with folder() as own:
            port = free_port()
            self._configure(own, port)
            command = [str(self.program), "serve", "--no-browser", "--config", str(own / "shinyhub.yaml")]
            with _killing() as left, Program(command, own / "log", own, self._env(port)) as running:
                running.ready(lambda: port_answers(port))
                try:
                    self._deploy(app, own, port)
                    yield Address(port, "/app/app/")
                finally:  # its replicas outlive it
                    left += psutil.Process(running.pid).children(recursive=True)

    def _env(self, port: int) -> dict[str, str]:
        return {
            "PATH": f"{self.program.parent}:/usr/local/bin:/usr/bin:/bin",
            "SHINYHUB_ADMIN_USER": "admin",
            "SHINYHUB_ADMIN_PASSWORD": self.password,
            "SHINYHUB_DEPLOY_TOKEN": self.token,
            "SHINYHUB_TOKEN": self.token,
            "SHINYHUB_HOST": f"http://127.0.0.1:{port}",
        }

    def _configure(self, own: Path, port: int) -> None:
        file = own / "shinyhub.yaml"
        self._run(own, port, "init", "--config", str(file))
        text, found, rest = file.read_text().partition('  host: "127.0.0.1"\n')
        if not found:
            raise Missing("shinyhub writes its settings in another way")
        file.write_text(f"{text}{found}  port: {port}\n{rest}")

    def _deploy(self, app: Path, own: Path, port: int) -> None:
        bundle = own / "bundle"
        bundle.mkdir()
        shutil.copy(app, bundle / "app.py")
        (bundle / "requirements.txt").write_text(f"shiny=={importlib.metadata.version('shiny')}\n")
        self._run(own, port, "deploy", str(bundle), "--slug", "app", "--visibility", "public", "--wait")
        limits = ["--replicas", str(WORKERS), "--max-sessions-per-replica", str(self.most_sessions)]
        self._run(own, port, "apps", "set", "app", *limits, "--hibernate-timeout", "0", "--yes", "--wait")

    def _run(self, own: Path, port: int, *arguments: str) -> None:
        """Run one of its commands to the end.

        Raises:
            Missing: it failed; the text has its last words.
        """
        ran = subprocess.run(
            [str(self.program), *arguments],
            cwd=own,
            env=self._env(port),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )
        if ran.returncode:
            raise Missing(f"shinyhub {arguments[0]} fails: {(ran.stdout + ran.stderr).strip()[-300:]}")


@contextlib.contextmanager
def _killing() -> Iterator[list[psutil.Process]]:
    """A list; the processes in it are killed at the end of a ``with`` block."""
    left: list[psutil.Process] = []
    try:
        yield left
    finally:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()


HOSTS = (Ours, OursIsolated, OursAsItWas, Uvicorn, HashOverUvicorn, ShinyHub)
