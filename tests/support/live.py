"""Live Shiny sessions and page loads, kept up while something goes wrong; every request is counted.

Each session is a tab of a browser of its own: a websocket, an input every second, an upload every five. What a tab
loses is counted, and then it connects again, as Shiny's page does. Page loads are new browsers, on the clock.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import random
import threading
import time
from dataclasses import dataclass

from support.real_site import APPS, Site, until
from support.shiny_session import SessionError, ShinySession, Tally

LIVE_CODE = (APPS / "live_app.py").read_text()


def write_version(site: Site, version: int) -> None:
    """Put a version of the app's code in place."""
    (site.folder / "app.py").write_text(LIVE_CODE.replace("VERSION = 1", f"VERSION = {version}"))


def live_site(workers: int = 4, **settings) -> Site:
    """A site that serves the live app; its code can be changed with write_version."""
    app = {"target": "app.py", "workers": workers, "hang_timeout": 5}
    site = Site({"app": app}, **settings)
    write_version(site, 1)
    return site


@dataclass(frozen=True)
class Loss:
    """What went wrong: when (monotonic seconds), to whom (an incarnation; empty for a page load), and how."""

    at: float
    incarnation: str
    kind: str
    text: str


class Tab(threading.Thread):
    """One browser with one tab that is used."""

    def __init__(self, live: Live, number: int) -> None:
        super().__init__(daemon=True)
        self.live = live
        self.random = random.Random(number)
        self.cookies: dict[str, str] = {}
        self.session = ShinySession(
            live.site.port,
            cookies=self.cookies,
            outputs=("answer", "checksum"),
            inputs={"n": 0},
            tally=live.tally,
        )
        self.ready = threading.Event()
        self.version = 0

    def run(self) -> None:
        stop = self.live.stop
        stop.wait(self.random.random())
        lost = False
        while not stop.is_set():
            try:
                if lost:
                    self.session.connect()
                else:
                    self.session.open()
                self.use(seconds=self.random.randrange(5, 25))
                lost = False
            except SessionError as error:
                lost = True
                if not stop.is_set():
                    self.live.lose(self.session.incarnation, "session", str(error))
            self.session.close()
            stop.wait(0.2)

    def use(self, seconds: int) -> None:
        """Use the session for a while; then the tab is closed, and its browser opens another."""
        stop = self.live.stop
        for second in range(seconds):
            answer = self.answer_to(self.random.randrange(10**9))
            self.version = int(answer.split()[2])
            if answer.split()[3] != self.session.incarnation:
                raise SessionError(f"{answer} on a session of {self.session.incarnation}")
            self.ready.set()
            if second % 5 == 4:
                self.upload(self.random.randbytes(20_000))
            if stop.wait(1):
                return

    def answer_to(self, number: int) -> str:
        """Change the input, and wait for the output that belongs to it."""

        def answer() -> str | None:
            text = self.session.values.get("answer") or ""
            return text if text.startswith(f"{number} ") else None

        self.session.update(n=number)
        return self.session.until(answer, "the answer is there", 30)

    def upload(self, file: bytes) -> None:
        """Upload a file, and wait for its checksum."""
        checksum = hashlib.sha256(file).hexdigest()
        self.session.upload("file", "data.bin", file)
        self.session.until(lambda: self.session.values.get("checksum") == checksum, "the checksum is there", 30)


class Live:
    """The load: use as a context manager; it is steady inside.

    Args:
        site: started.
        sessions: tabs.
        pages: loads a second.
    """

    def __init__(self, site: Site, sessions: int = 40, pages: float = 20) -> None:
        self.site = site
        self.pages = pages
        self.tally = Tally()
        self.stop = threading.Event()
        self.losses: list[Loss] = []
        self.tabs = [Tab(self, number) for number in range(sessions)]
        self.loaded = 0
        self._lock = threading.Lock()
        self._clock = threading.Thread(target=self._load_pages, daemon=True)

    def lose(self, incarnation: str, kind: str, text: str) -> None:
        with self._lock:
            self.losses.append(Loss(time.monotonic(), incarnation, kind, text))

    def _load_pages(self) -> None:
        began, number = time.monotonic(), 0
        with concurrent.futures.ThreadPoolExecutor(64) as browsers:
            while not self.stop.wait(max(0.0, began + number / self.pages - time.monotonic())):
                browsers.submit(self._load_page)
                number += 1

    def _load_page(self) -> None:
        try:
            reply = self.site.ask("/")
            problem = "" if reply.status == 200 and b"</html>" in reply.body else f"status {reply.status}"
        except OSError as error:
            problem = repr(error)
        with self._lock:
            self.loaded += 1
        if problem:
            self.lose("", "page", problem)

    def __enter__(self) -> Live:
        for tab in self.tabs:
            tab.start()
        self._clock.start()
        until(lambda: all(tab.ready.is_set() for tab in self.tabs), "all sessions are in use", 120)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in (*self.tabs, self._clock):
            thread.join(60)

    def go_on(self, seconds: float) -> None:
        """Keep the load up for a while; what went wrong a moment before shows then."""
        time.sleep(seconds)

    def lost(self, kind: str) -> list[Loss]:
        with self._lock:
            return [loss for loss in self.losses if loss.kind == kind]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.tally.tried.items()))
        return (
            f"{len(self.lost('session'))} losses in {len(self.tabs)} sessions, "
            f"{len(self.lost('page'))} of {self.loaded} page loads failed; {self.tally.tried.total()} "
            f"requests and messages in all ({kinds})"
        )


# --- faults: each does its worst to a site under load, and returns the incarnations whose sessions it may cost


def incarnation(site: Site, worker: str) -> str:
    return (site.run_dir / f"{worker}.sock").readlink().stem


def workers(site: Site) -> list[str]:
    return [f"app{number}" for number in range(1, site.settings["apps"]["app"]["workers"] + 1)]


def deploy(live: Live, times: int = 3) -> set[str]:
    """New code, several times in a row."""
    site = live.site
    for _ in range(times):
        version = max(tab.version for tab in live.tabs) + 1
        before = {worker: incarnation(site, worker) for worker in workers(site)}
        write_version(site, version)
        done = site.command("reload", str(site.config))
        assert done.returncode == 0, done.stderr
        assert all(incarnation(site, worker) != old for worker, old in before.items())
        for worker in workers(site):
            with ShinySession(site.port, cookies={"sticky": worker}, outputs=("answer",), inputs={"n": 1}) as new:
                # From the moment that the deploy is done: no old connection leads to old code.
                assert f"version {version} " in new.output("answer"), "a new session is on old code"
    return set()


def broken_deploy(live: Live) -> set[str]:
    """Code that does not import."""
    site = live.site
    before = {worker: incarnation(site, worker) for worker in workers(site)}
    code = (site.folder / "app.py").read_text()
    (site.folder / "app.py").write_text("import numpie\n")
    failed = site.command("reload", str(site.config))
    (site.folder / "app.py").write_text(code)
    assert failed.returncode == 1
    assert "No module named 'numpie'" in failed.stderr
    assert {worker: incarnation(site, worker) for worker in workers(site)} == before
    return set()


def kill_workers(live: Live) -> set[str]:
    """kill -9 of each worker in turn."""
    site = live.site
    killed = set()
    for worker in workers(site):
        killed.add(incarnation(site, worker))
        site.back(worker, site.kill(worker))
    return killed


def stop_worker(live: Live) -> set[str]:
    """A worker that hangs (kill -STOP)."""
    site = live.site
    worker = live.tabs[0].session.incarnation.split(".")[0]
    stopped, pid = incarnation(site, worker), site.pid(worker)
    os.kill(pid, 19)
    site.back(worker, pid)
    return {stopped}


def kill_nginx(live: Live) -> set[str]:
    """kill -9 of nginx's master."""
    site = live.site
    pid = site.nginx_pid()
    site.processes()
    os.kill(pid, 9)
    until(lambda: site.nginx_pid() not in (0, pid), "nginx is back")
    for worker in workers(site):
        until(lambda worker=worker: site.ask(cookie=f"sticky={worker}").status == 200, "nginx serves")
        assert site.ask(cookie=f"sticky={worker}").set_cookies == [], "the cookies mean what they meant"
    return {"any"}  # a connection at the wrong moment is refused


def reload_nginx(live: Live) -> set[str]:
    """nginx -s reload."""
    os.kill(live.site.nginx_pid(), 1)
    return set()


def kill_launcher(live: Live) -> set[str]:
    """kill -9 of the launcher, and a new one."""
    site = live.site
    site.launcher.kill()
    site.launcher.wait()
    live.go_on(2)
    site.start()
    return set()


def resize(live: Live) -> set[str]:
    """Workers 4 to 6 to 2 and back to 4, by reload."""
    site = live.site
    for number in (6, 2, 4):
        site.settings["apps"]["app"]["workers"] = number
        site.write()
        done = site.command("reload", str(site.config))
        assert done.returncode == 0, done.stderr
        if number == 2:
            until(
                lambda: site.ask(cookie="sticky=app5").assigned in ("app1", "app2"), "a removed name is re-assigned"
            )
    return set()


FAULTS = [deploy, broken_deploy, kill_workers, stop_worker, kill_nginx, reload_nginx, kill_launcher, resize]


def judge(live: Live, may_cost: set[str]) -> list[Loss]:
    """What was lost that should not have been."""
    if "any" in may_cost:
        return []
    return [loss for loss in live.losses if loss.kind == "page" or loss.incarnation not in may_cost]
