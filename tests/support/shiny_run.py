"""A real `shiny run`: what an app does there is what it must do behind the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from support.real_site import free_port, until


class ShinyRun:
    """One app under `shiny run`, in its file's folder. It is up some time after this is made: see `url`.

    Args:
        file: the app's.
        env: environment variables for it.
    """

    def __init__(self, file: Path, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._file = file
        self._port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shiny", "run", "--port", str(self._port), file.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=file.parent,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def url(self) -> str:
        """The app's page; it waits until the app serves."""
        until(lambda: self._serves() or self._process.poll() is not None, f"{self._file.name} serves", 120)
        assert self._process.poll() is None, "\n".join(self.lines)
        return f"http://127.0.0.1:{self._port}/"

    def _serves(self) -> bool:
        return any("Uvicorn running on" in line for line in list(self.lines))

    def stop(self) -> None:
        """End it, with whatever sessions it has."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
