"""Live Shiny sessions and page loads, kept up while something goes wrong; every request is counted.

Each session is a tab of a browser of its own: a websocket, an input every second, an upload every five. What a tab
loses is counted, and then it connects again, as Shiny's page does. Page loads are new browsers, on the clock.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass

from support.load import PageLoads
from support.real_site import APPS, Site
from support.shiny_session import SessionError, ShinySession, Tally
from support.waiting import until

LIVE_CODE = (APPS / "live_app.py").read_text()


def write_live_app(site: Site, version: int) -> None:
    """Put a version of the app's code in place."""
    (site.folder / "app.py").write_text(LIVE_CODE.replace("VERSION = 1", f"VERSION = {version}"))


def live_site(workers: int = 4, **settings) -> Site:
    """A site that serves the live app; its code can be changed with write_live_app."""
    app = {"target": "app.py", "workers": workers, "hang_timeout": 15}
    site = Site({"app": app}, **settings)
    write_live_app(site, 1)
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
        return self.session.until(answer, "the answer is there")

    def upload(self, file: bytes) -> None:
        """Upload a file, and wait for its checksum."""
        checksum = hashlib.sha256(file).hexdigest()
        self.session.upload("file", "data.bin", file)
        self.session.until(lambda: self.session.values.get("checksum") == checksum, "the checksum is there")


class Live:
    """The load: use as a context manager; it is steady inside.

    Args:
        site: started.
        sessions: tabs.
        pages: loads a second.
    """

    def __init__(self, site: Site, sessions: int = 40, pages: float = 20) -> None:
        self.site = site
        self.tally = Tally()
        self.stop = threading.Event()
        self.losses: list[Loss] = []
        self.tabs = [Tab(self, number) for number in range(sessions)]
        self.page_loads = PageLoads(
            site,
            rate=pages,
            ending=b"</html>",
            on_failure=lambda failure: self.lose("", "page", failure.problem),
        )
        self._lock = threading.Lock()

    @property
    def loaded(self) -> int:
        """How many page loads are done."""
        return self.page_loads.loaded.total()

    def lose(self, incarnation: str, kind: str, text: str) -> None:
        with self._lock:
            self.losses.append(Loss(time.monotonic(), incarnation, kind, text))

    def __enter__(self) -> Live:
        for tab in self.tabs:
            tab.start()
        self.page_loads.__enter__()
        until(lambda: all(tab.ready.is_set() for tab in self.tabs), "all sessions are in use", 120)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.page_loads.__exit__()
        for tab in self.tabs:
            tab.join(60)

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


# --- faults: each does its worst to a site under load, and says what that may cost


@dataclass(frozen=True)
class Fault:
    """What a fault may cost.

    Attributes:
        sessions_of: the incarnations whose sessions may be lost.
        refuses: whether nobody listens for a moment, so that any session or page load may be lost.
    """

    sessions_of: frozenset[str] = frozenset()
    refuses: bool = False

    def may_cost(self, loss: Loss) -> bool:
        return self.refuses or (loss.kind == "session" and loss.incarnation in self.sessions_of)


def deploy(live: Live, times: int = 3) -> Fault:
    """New code, several times in a row."""
    site = live.site
    for _ in range(times):
        version = max(tab.version for tab in live.tabs) + 1
        before = {worker: site.incarnation(worker) for worker in site.workers()}
        write_live_app(site, version)
        site.reload()
        assert all(site.incarnation(worker) != old for worker, old in before.items())
        for worker in site.workers():
            with ShinySession(site.port, cookies={"sticky": worker}, outputs=("answer",), inputs={"n": 1}) as new:
                # From the moment that the deploy is done: no old connection leads to old code.
                assert f"version {version} " in new.output("answer"), "a new session is on old code"
    return Fault()


def broken_deploy(live: Live) -> Fault:
    """Code that does not import."""
    site = live.site
    before = {worker: site.incarnation(worker) for worker in site.workers()}
    code = (site.folder / "app.py").read_text()
    (site.folder / "app.py").write_text("import numpie\n")
    failed = site.command("reload", str(site.config))
    (site.folder / "app.py").write_text(code)
    assert failed.returncode == 1
    assert "No module named 'numpie'" in failed.stderr
    assert {worker: site.incarnation(worker) for worker in site.workers()} == before
    return Fault()


def kill_workers(live: Live) -> Fault:
    """kill -9 of each worker in turn."""
    site = live.site
    killed = set()
    for worker in site.workers():
        killed.add(site.incarnation(worker))
        site.back(worker, site.kill(worker))
        live.page_loads.catch_up()  # what two workers in a row have begun, and failed, is lost by the rule
    return Fault(frozenset(killed))


def stop_worker(live: Live) -> Fault:
    """A worker that hangs (kill -STOP)."""
    site = live.site
    worker = next(filter(None, (tab.session.incarnation for tab in live.tabs))).split(".")[0]
    stopped, pid = site.incarnation(worker), site.pid(worker)
    os.kill(pid, signal.SIGSTOP)
    site.back(worker, pid)
    return Fault(frozenset({stopped}))


def kill_nginx(live: Live) -> Fault:
    """kill -9 of nginx's master."""
    site = live.site
    pid = site.nginx_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: site.nginx_pid() not in (0, pid), "nginx is back")
    for worker in site.workers():
        until(lambda worker=worker: site.ask(cookie=f"sticky={worker}").status == 200, "nginx serves")
        assert site.ask(cookie=f"sticky={worker}").set_cookies == [], "the cookies mean what they meant"
    return Fault(refuses=True)


def reload_nginx(live: Live) -> Fault:
    """nginx -s reload."""
    os.kill(live.site.nginx_pid(), signal.SIGHUP)
    return Fault()


def kill_launcher(live: Live) -> Fault:
    """kill -9 of the launcher, and a new one."""
    site = live.site
    site.kill_launcher()
    live.go_on(2)
    site.start()
    return Fault()


def resize(live: Live) -> Fault:
    """Workers 4 to 6 to 2 and back to 4, by reload."""
    site = live.site
    for number in (6, 2, 4):
        site.settings["apps"]["app"]["workers"] = number
        site.write()
        site.reload()
        if number == 2:
            until(
                lambda: site.ask(cookie="sticky=app5").assigned in ("app1", "app2"), "a removed name is re-assigned"
            )
    return Fault()


FAULTS = [deploy, broken_deploy, kill_workers, stop_worker, kill_nginx, reload_nginx, kill_launcher, resize]


def judge(live: Live, fault: Fault) -> list[Loss]:
    """What was lost that should not have been."""
    return [loss for loss in live.losses if not fault.may_cost(loss)]
