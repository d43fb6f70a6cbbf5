"""A real launcher, nginx and workers in a folder of their own, and clients for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import websocket
import yaml

from shiny_sticky.settings.names import worker_names
from support.answering import AnsweringWebSocket
from support.waiting import PATIENCE, answers, free_port, running, until

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
APPS = TESTS / "apps"
LAUNCHER = [sys.executable, str(ROOT / "launcher.py")]
# Another nginx to test with: TEST_NGINX=/opt/nginx-1.30/sbin/nginx make test. (The name NGINX means something to
# nginx itself: sockets that it inherits.)
NGINX = os.environ.get("TEST_NGINX", "nginx")
ECHO = str(APPS / "echo.py")

# Seconds by which the age of a process may be told wrong.
CLOCK_SKEW = 10


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
        self.began = time.time() - CLOCK_SKEW
        self.write()

    def write(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    # --- the launcher

    def command(
        self, *arguments: str, program: list[str] | None = None, timeout: float = 3 * PATIENCE
    ) -> subprocess.CompletedProcess:
        """Run the launcher to its end."""
        return subprocess.run(
            [*(program or LAUNCHER), *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            cwd=self.folder,
            env=self.env,
        )

    def start(
        self, *arguments: str, program: list[str] | None = None, timeout: float = 2 * PATIENCE, config: bool = True
    ) -> Site:
        """Start the launcher, and wait until it serves.

        Args:
            arguments: of the launcher; PORT is the site's.
            program: what is called, if not launcher.py.
            timeout: seconds.
            config: whether the settings file follows.
        """
        self.lines = []
        words = [str(self.port) if word == "PORT" else word for word in arguments]
        self.launcher = subprocess.Popen(
            [*(program or LAUNCHER), *words, *([str(self.config)] if config else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=self.env,
            start_new_session=True,  # without a terminal, whatever the tests are run on
        )
        threading.Thread(target=self._read, args=(self.launcher,), daemon=True).start()
        until(lambda: self.said(r" is at http://") or self.launcher.poll() is not None, "start", timeout)
        assert self.launcher.poll() is None, "\n".join(self.lines)
        apps = self.settings["apps"]
        expected = sum(len(self.workers(app)) for app in apps if not apps[app].get("idle_timeout"))
        # The table of workers is the last that is printed at a start.
        until(lambda: self.said(r"^worker +pid +socket") and len(self.table()) >= expected, "table")
        self.remember_processes()
        return self

    def _read(self, launcher: subprocess.Popen) -> None:
        for line in launcher.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    def says(self, pattern: str) -> list[str]:
        """Wait for lines of the launcher's; what it prints takes its own way, and comes a moment after the fact."""
        return until(lambda: self.said(pattern), f"the launcher says {pattern}")

    def table(self) -> dict[str, int]:
        """The printed table: worker to pid."""
        found = [re.match(r"(\w+) +(\d+) +/.*\.sock$", line) for line in self.lines]
        return {match[1]: int(match[2]) for match in found if match}

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Stop the launcher; gives its exit code."""
        self.remember_processes()
        self.launcher.send_signal(number)
        return self.launcher.wait(timeout)

    def reload(self) -> str:
        """Deploy, as the command does; gives what comes of it."""
        return self.control("POST", "/reload")["done"]

    def restart(self, worker: str) -> str:
        """Replace a worker, as the command does; gives what comes of it."""
        return self.control("POST", f"/restart/{worker}")["done"]

    def kill_launcher(self) -> None:
        """Kill the launcher; nginx and the workers are left to themselves."""
        self.launcher.kill()
        self.launcher.wait()

    # --- the launcher's control socket; its commands ask there, too, but start a Python first

    def control(self, method: str, path: str) -> dict:
        """Ask the launcher for something that it can do."""
        connection = http.client.HTTPConnection("launcher", timeout=10 * PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.run_dir / "control.sock"))
            connection.request(method, path)
            response = connection.getresponse()
            answer = response.read()
        assert response.status == 200, answer
        return json.loads(answer)

    def status(self) -> dict:
        """What ``launcher.py status --json`` prints."""
        return self.control("GET", "/status")

    def states(self) -> dict[str, list[str]]:
        """The state of each process of each worker."""
        workers = self.status()["workers"]
        return {worker["name"]: [one["state"] for one in worker["incarnations"]] for worker in workers}

    def sessions(self, worker: str) -> int:
        """How many sessions the process that serves for a worker has open."""
        (found,) = [each for each in self.status()["workers"] if each["name"] == worker]
        return found["incarnations"][0]["sessions"]

    def all_heard(self) -> bool:
        """Whether the launcher hears of each worker; on a busy machine new visitors are kept from one at times."""
        return all("silent" not in states for states in self.states().values())

    def emptied(self) -> None:
        """Wait until the launcher has heard that no worker has a session: new visitors come in turn then."""
        until(lambda: not any(self.sessions(worker) for worker in self.workers()), "no session is open")
        until(self.all_heard, "each worker is heard")

    @contextlib.contextmanager
    def launcher_stopped(self) -> Iterator[None]:
        """The launcher stands still while a block runs; nginx and the workers go on."""
        self.launcher.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.launcher.send_signal(signal.SIGCONT)

    def parents(self) -> list[int]:
        """The processes that workers are forked off."""
        return [parent["pid"] for parent in self.status()["parents"]]

    # --- processes

    def workers(self, app: str = "app") -> list[str]:
        """The names of an app's workers, those that there are from the start."""
        number = self.settings["apps"][app].get("workers", 4)
        return worker_names(app, number["min"] if isinstance(number, dict) else number)

    def incarnation(self, worker: str) -> str:
        """The name of the process that the worker's socket leads to."""
        return (self.run_dir / f"{worker}.sock").readlink().stem

    def incarnations(self) -> dict[str, int]:
        """The processes that run for workers, those that drain among them: name to pid."""
        found = {}
        for file in self.run_dir.glob("*.*.pid"):
            with contextlib.suppress(FileNotFoundError, ValueError):  # it has just ended, or just begun
                found[file.stem] = int(file.read_text())
        return found

    def sockets(self) -> list[str]:
        """The names of the workers' sockets, and of the links to them."""
        return sorted(file.name for file in self.run_dir.glob("*.sock") if file.name != "control.sock")

    def pid(self, worker: str) -> int:
        """The process that the worker's socket leads to."""
        return int((self.run_dir / f"{self.incarnation(worker)}.pid").read_text())

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

    def busy(self, worker: str) -> bool:
        """Whether nginx holds a connection to the worker, beside the socket that it listens on."""
        links = psutil.Process(self.pid(worker)).net_connections("unix")
        return sum(f"{worker}." in str(link.laddr) for link in links) > 1

    def nginx_pid(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.run_dir / "nginx.pid").read_text())
        return 0

    def remember_processes(self) -> None:
        """Note which processes are nginx's: without their master nothing else tells that they are this site's.

        `start` and `stop` do.
        """
        if self.nginx_pid():
            self.groups.add(self.nginx_pid())

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this site: launcher, workers, nginx."""
        found = []
        self.remember_processes()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if process.create_time() < self.began:
                    continue
                mine = str(self.folder) in " ".join([*process.cmdline(), process.environ().get("SITE", "")])
                if (mine or os.getpgid(process.pid) in self.groups) and running(process.pid):
                    found.append(process)
        return [process for process in found if process.pid != os.getpid()]

    def kill_everything(self) -> None:
        """Kill all processes, and wait until they are gone."""

        def gone() -> bool:
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            return not left

        until(gone, "all are dead")

    def check_nothing_left(self) -> None:
        """See that no process, socket or pid file is left, as must be when the launcher has ended."""
        assert self.processes() == []
        endings = (".sock", ".pid", ".link", ".inbox")
        assert [file.name for file in self.run_dir.iterdir() if file.suffix in endings] == []

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        if self.launcher is not None and self.launcher.poll() is None:
            self.launcher.send_signal(signal.SIGCONT)
            self.launcher.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.launcher.wait(15)
        self.kill_everything()
        if self.launcher is not None:
            self.launcher.kill()
            self.launcher.wait()
            self.launcher.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- clients

    def ask(self, path: str = "/", cookie: str | bytes | None = None, method: str = "GET", body=None, headers=()):
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
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
            f"ws://127.0.0.1:{self.port}{path}",
            cookie=cookie,
            timeout=PATIENCE,
            class_=AnsweringWebSocket,
            **options,
        )
