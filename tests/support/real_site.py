"""A real launcher, nginx and workers in a folder of their own, and clients for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import websocket
import yaml

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
APPS = TESTS / "apps"
# Another nginx to test with: TEST_NGINX=/opt/nginx-1.30/sbin/nginx make test. (The name NGINX means something to
# nginx itself: sockets that it inherits.)
NGINX = os.environ.get("TEST_NGINX", "nginx")
ECHO = str(APPS / "echo.py")


def free_port() -> int:
    """A port below those that the system hands out to clients, so that none takes it before the test does."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(condition, what: str, timeout: float = 20):
    """Ask again and again until something is true; give what it returned."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return result


def running(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(socket_file: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_file)) == 0


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def worker(self) -> str:
        return self.json["worker"]

    @property
    def set_cookies(self) -> list[str]:
        return self.headers.get_all("Set-Cookie") or []

    @property
    def assigned(self) -> str | None:
        """The worker that the response's cookie names, if it sets one."""
        if not self.set_cookies:
            return None
        (cookie,) = self.set_cookies
        return cookie.split(";")[0].split("=")[1]


class Site:
    """What one settings file serves. Written as plain settings; port, run_dir and conf are chosen here.

    Use as a context manager: whatever runs at the end is ended, and must not have been forgotten by the launcher.
    """

    def __init__(self, apps: dict | None = None, **settings) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))
        self.port = free_port()
        self.settings = {
            "listen": f"127.0.0.1:{self.port}",
            **settings,
            "nginx": {"binary": NGINX, **settings.get("nginx", {})},
            "apps": apps or {"app": {"target": ECHO, "workers": 4}},
        }
        self.config = self.folder / "config.yaml"
        self.run_dir = self.folder / "run"
        self.conf = self.folder / "conf" / "sticky.conf"
        self.env = {**os.environ, "SITE": str(self.folder)}  # by which all its processes can be found
        self.launcher: subprocess.Popen | None = None
        self.lines: list[str] = []
        self.groups: set[int] = set()
        self.write()

    def write(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    # --- the launcher

    def command(self, *arguments: str, timeout: float = 60, **options) -> subprocess.CompletedProcess:
        """Run the launcher to its end."""
        return subprocess.run(
            [sys.executable, str(ROOT / "launcher.py"), *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            cwd=self.folder,
            env=self.env,
            **options,
        )

    def start(self, *arguments: str, program: list[str] | None = None, timeout: float = 60) -> Site:
        """Start the launcher, and wait until it serves."""
        self.lines = []
        self.launcher = subprocess.Popen(
            [*(program or [sys.executable, str(ROOT / "launcher.py")]), *arguments, str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=self.env,
        )
        threading.Thread(target=self._read, args=(self.launcher,), daemon=True).start()
        until(lambda: self.said(r" is at http://") or self.launcher.poll() is not None, "start", timeout)
        assert self.launcher.poll() is None, "\n".join(self.lines)
        # The table of workers is the last that is printed at a start.
        until(lambda: self.said(r"^worker +pid +socket") and len(self.table()) >= self.expected(), "table")
        return self

    def _read(self, launcher: subprocess.Popen) -> None:
        for line in launcher.stdout:
            self.lines.append(line.rstrip("\n"))

    def expected(self) -> int:
        return sum(app.get("workers", 4) for app in self.settings["apps"].values())

    def said(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    def table(self) -> dict[str, int]:
        """The printed table: worker to pid."""
        found = [re.match(r"(\w+) +(\d+) +/.*\.sock$", line) for line in self.lines]
        return {match[1]: int(match[2]) for match in found if match}

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        self.launcher.send_signal(number)
        return self.launcher.wait(timeout)

    # --- processes

    def pid(self, worker: str) -> int:
        """The process that the worker's socket leads to."""
        link = (self.run_dir / f"{worker}.sock").readlink()
        return int((self.run_dir / f"{link.stem}.pid").read_text())

    def kill(self, worker: str) -> int:
        """Kill a worker's process; gives the pid that it had. It is dead, not just told, when this returns."""
        pid = self.pid(worker)
        socket_file = (self.run_dir / f"{worker}.sock").resolve()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not answers(socket_file), f"{worker} is dead")
        return pid

    def back(self, worker: str, old_pid: int) -> int:
        """Wait until a worker has a new process that answers."""

        def new() -> int:
            with contextlib.suppress(OSError, ValueError):
                pid = self.pid(worker)
                return pid if pid != old_pid and answers(self.run_dir / f"{worker}.sock") else 0
            return 0

        return until(new, f"{worker} is back")

    def nginx_pid(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.run_dir / "nginx.pid").read_text())
        return 0

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this site: launcher, workers, nginx."""
        found = []
        if self.nginx_pid():
            self.groups.add(self.nginx_pid())
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                mine = str(self.folder) in " ".join([*process.cmdline(), process.environ().get("SITE", "")])
                if (mine or os.getpgid(process.pid) in self.groups) and running(process.pid):
                    found.append(process)
        return [process for process in found if process.pid != os.getpid()]

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        if self.launcher is not None and self.launcher.poll() is None:
            self.launcher.send_signal(signal.SIGCONT)
            self.launcher.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.launcher.wait(15)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.launcher is not None:
            self.launcher.kill()
            self.launcher.wait()
            self.launcher.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- clients

    def ask(self, path: str = "/", cookie: str | bytes | None = None, method: str = "GET", body=None, headers=()):
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = dict(headers)
            if cookie is not None:
                sent["Cookie"] = cookie
            connection.request(method, path, body=body, headers=sent)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def websocket(self, path: str = "/ws", cookie: str | None = None, **options) -> websocket.WebSocket:
        return websocket.create_connection(
            f"ws://127.0.0.1:{self.port}{path}", cookie=cookie, timeout=30, **options
        )
