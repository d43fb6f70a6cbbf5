"""Each session has a process of its own, which ends with it: isolation: session."""

import asyncio
import concurrent.futures
import json
import os
import signal
import threading
import time

import psutil
import pytest
import websocket

from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, ECHO, ROOT, Site, until
from support.resuming_client import ResumingClient
from support.shiny_session import ShinySession

SHINY = (
    "import os\nfrom shiny.express import input, render, ui\n"
    "ui.input_slider('n', 'n', 0, 10, 5)\n@render.text\ndef out():\n    return f'{input.n()} {os.getpid()}'\n"
)


def isolated(workers=None, target: str = ECHO, **more) -> dict:
    """The settings of an app whose sessions share nothing."""
    workers = workers or {"min": 1, "max": 64}
    return {"app": {"target": target, "isolation": "session", "workers": workers, **more}}


class Tab:
    """A session of the echo app.

    Attributes:
        worker: its worker.
        pid: its process.
        moved: the worker that the cookie names from now on; None if it names that already.
    """

    def __init__(self, site: Site, cookie: str | None = None) -> None:
        self.socket = site.websocket(cookie=cookie)
        told = json.loads(self.socket.recv())
        self.worker, self.pid = told["worker"], told["pid"]
        said = self.socket.getheaders().get("set-cookie", "")
        self.moved = said.partition(";")[0].removeprefix("sticky=") or None

    def answers(self) -> bool:
        """Whether it has what it is asked for, there and back."""
        self.socket.send("still there?")
        return self.socket.recv() == "still there?"

    def close(self) -> None:
        self.socket.close()


class Tabs:
    """Sessions of a site that are closed with the test.

    Args:
        site: started.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.open: list[Tab] = []

    def __enter__(self) -> "Tabs":
        return self

    def __exit__(self, *_: object) -> None:
        for tab in self.open:
            tab.close()
        heard(self.site, 0)

    def come(self, cookie: str | None = None) -> Tab:
        self.open.append(Tab(self.site, cookie))
        return self.open[-1]

    def leave(self, tab: Tab) -> None:
        self.open.remove(tab)
        tab.close()


def heard(site: Site, sessions: int) -> dict:
    """Wait until the launcher knows of so many sessions; gives the app's status."""

    def told() -> dict | None:
        (app,) = site.status()["apps"]
        return app if app["sessions"] == sessions else None

    return until(told, f"there are {sessions} sessions")


def serving(site: Site) -> dict[str, int]:
    """The processes that serve, by their workers."""
    found = ((worker["name"], one) for worker in site.status()["workers"] for one in worker["incarnations"])
    return {name: one["pid"] for name, one in found if one["state"] == "serving"}


def ends(pid: int) -> None:
    """Wait for a process's end."""
    until(lambda: not psutil.pid_exists(pid), f"{pid} has ended")


@pytest.fixture(scope="module")
def echo():
    """As many workers as are needed; each test leaves them without sessions."""
    with Site(isolated()) as site:
        yield site.start()


@pytest.fixture
def tabs(echo):
    with Tabs(echo) as opened:
        yield opened


def test_each_session_has_a_process_which_ends_with_it_alone(echo, tabs):
    some = [tabs.come() for _ in range(6)]
    assert len({tab.pid for tab in some}) == 6
    until(lambda: heard(echo, 6)["room"] == 2, "two are spare")
    tabs.leave(some[0])
    ends(some[0].pid)
    assert all(tab.answers() for tab in some[1:])
    assert {tab.pid for tab in some[1:]} <= set(echo.incarnations().values())
    shown = echo.command("status", str(echo.config)).stdout
    assert "app: 5 sessions of 64 at most, each in a process of its own; " in shown

    for tab in some[1:]:
        tabs.leave(tab)
    for tab in some[1:]:
        ends(tab.pid)
    until(lambda: heard(echo, 0)["workers"] == 2, "as many as are needed, and not after a quiet time")
    assert not echo.said("has left|grows|shrinks|is back|started again"), "nothing is said of each session"
    assert all(worker["restarts"] == 0 for worker in echo.status()["workers"])
    assert tabs.come().answers()


def test_a_page_of_a_worker_that_has_a_session_gets_one_elsewhere_and_the_cookie_follows(echo, tabs):
    first = tabs.come()
    cookie = f"sticky={first.worker}"
    heard(echo, 1)
    assert echo.ask(cookie=cookie).worker == first.worker, "what is asked by name is answered"
    second = tabs.come(cookie)
    assert second.worker != first.worker
    assert second.moved == second.worker, "by the 101"
    heard(echo, 2)
    third = until(lambda: next(iter(echo.states().keys() - {first.worker, second.worker}), None), "one is free")
    assert tabs.come(f"sticky={third}").worker == third, "a free one has the session of its page"


def test_a_crash_in_one_session_is_nobody_elses(echo, tabs):
    some = [tabs.come() for _ in range(4)]
    os.kill(some[0].pid, signal.SIGKILL)
    with pytest.raises((websocket.WebSocketException, OSError)):
        some[0].answers()
    assert all(tab.answers() for tab in some[1:])
    assert tabs.come().answers()


def test_an_endless_loop_in_one_session_is_nobody_elses(echo, tabs):
    """Nor of who names its worker in a cookie of last week; in a moment, that is."""
    looping, *others = [tabs.come() for _ in range(3)]
    heard(echo, 3)
    looping.socket.send("hang")
    try:
        assert all(tab.answers() for tab in others)
        assert echo.ask().worker != looping.worker
        until(lambda: echo.states()[looping.worker] == ["silent"], "it is noticed")
        reply = echo.ask(cookie=f"sticky={looping.worker}")
        assert reply.worker == reply.assigned != looping.worker
        assert tabs.come(f"sticky={looping.worker}").answers()
    finally:
        os.kill(looping.pid, signal.SIGKILL)
    until(lambda: echo.states().get(looping.worker) == ["serving"], "another process is there")
    assert echo.ask(cookie=f"sticky={looping.worker}").worker == looping.worker


def test_what_is_being_downloaded_when_a_session_ends_is_finished(echo, tabs):
    tab, go = tabs.come(), echo.folder / "go"
    replies = []
    download = threading.Thread(
        target=lambda: replies.append(echo.ask(f"/?chunks={go}", cookie=f"sticky={tab.worker}"))
    )
    download.start()
    until(lambda: echo.busy(tab.worker), "it has begun")
    tabs.leave(tab)
    heard(echo, 0)
    until(lambda: serving(echo).get(tab.worker) != tab.pid, "it serves no more")
    assert psutil.pid_exists(tab.pid)
    go.touch()
    download.join()
    assert replies[0].body == b"firstsecond"
    ends(tab.pid)


def test_a_deploy_leaves_each_open_session_in_its_process_and_starts_only_what_is_needed(site_of):
    site = site_of(isolated()).start()
    with Tabs(site) as tabs:
        old = [tabs.come() for _ in range(5)]
        until(lambda: heard(site, 5)["room"] == 2, "two are spare")
        assert "Deployed 2 workers" in site.reload()
        assert all(tab.answers() for tab in old)
        assert {tab.pid for tab in old} <= set(site.incarnations().values())
        until(lambda: heard(site, 0)["workers"] == 2, "those that serve have none of them")
        assert tabs.come().pid not in {tab.pid for tab in old}
        for tab in old:
            tabs.leave(tab)
            ends(tab.pid)


def test_a_session_that_was_cut_finds_its_process(site_of):
    site = site_of(isolated(target=str(APPS / "counting.py"))).start()

    async def scenario(network: CuttingProxy) -> None:
        async with ResumingClient(network.port) as client, ResumingClient(site.port):
            await asyncio.to_thread(heard, site, 2)
            pid = site.incarnations()[client.session.partition("-")[0]]
            for how in ("rst", "fin"):
                times = len(client.resumed)
                network.disconnect(how)
                await asyncio.to_thread(until, lambda: site.status()["apps"][0]["suspended"] == 1, "it waits")
                assert psutil.pid_exists(pid)
                network.reconnect()
                await client.until(lambda times=times: len(client.resumed) > times, "it is resumed")
            assert site.incarnations()[client.session.partition("-")[0]] == pid
            numbers = len(client.received)
            await client.until(lambda: len(client.received) > numbers + 2, "it goes on")
            assert client.received == [str(number) for number in range(len(client.received))]
        await asyncio.to_thread(ends, pid)

    with CuttingProxy(site.port) as network:
        asyncio.run(scenario(network))


def test_where_cookies_are_blocked_uploads_and_downloads_reach_the_sessions_process(site_of):
    site = site_of(isolated(target=str(ROOT / "app" / "app.py"))).start()
    outputs = ("pid", "upload_report", "download")
    sessions = [ShinySession(site.port, outputs=outputs, inputs={"clicks:shiny.action": 0}) for _ in range(4)]
    try:
        for session in sessions:
            session.open()
        assert len({session.output("pid") for session in sessions}) == 4
        for number, session in enumerate(sessions):
            session.upload("upload", "some.txt", b"x" * (1000 + number))
            assert str(session.output("pid")) in str(session.download("download"))
    finally:
        for session in sessions:
            session.close()


def test_a_fixed_number_of_workers_is_that_of_sessions_and_each_is_followed_by_another(site_of):
    site = site_of(isolated(workers=2)).start()
    with Tabs(site) as tabs:
        first, _ = tabs.come(), tabs.come()
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            Tab(site)
        assert refused.value.status_code == 503
        tabs.leave(first)
        ends(first.pid)
        until(lambda: heard(site, 1)["workers"] == 2, "another one has followed")
        assert tabs.come().pid != first.pid


def test_many_that_leave_at_once_are_followed_by_as_many_as_are_needed(site_of):
    site = site_of(isolated(workers={"min": 6, "max": 12})).start()
    with Tabs(site) as tabs:
        some = [tabs.come() for _ in range(10)]
        until(lambda: heard(site, 10)["workers"] == 12, "all are there")
        for tab in some:
            tabs.leave(tab)
        for tab in some:
            ends(tab.pid)
        until(lambda: heard(site, 0)["workers"] == 6, "the fewest")
        assert len({tabs.come().pid for _ in range(6)} - {tab.pid for tab in some}) == 6


def test_no_worker_is_started_for_the_page_that_each_renders_at_its_start(site_of):
    """Each would say for ten seconds that somebody is about to come, and the next be started for that."""
    site = site_of(isolated(target="app.py"))
    (site.folder / "app.py").write_text(SHINY)
    site.start()
    until(lambda: all(process["up"] > 3 for process in uptimes(site)), "they have said how they are")
    assert heard(site, 0)["workers"] == 2


def uptimes(site: Site) -> list[dict]:
    now = time.time()
    return [{"up": now - one["since"]} for worker in site.status()["workers"] for one in worker["incarnations"]]


@pytest.mark.slow
def test_a_burst_of_50_visitors_in_2_seconds_is_refused_nothing(site_of):
    """From one worker on: each loads a page, and has a session, one half of them in browsers that block cookies."""
    site = site_of(isolated(target="app.py"))
    (site.folder / "app.py").write_text(SHINY)
    site.start()
    failed, sockets = [], []

    def visit(number: int) -> None:
        time.sleep(number / 25)  # users come when they like
        try:
            reply = site.ask()
            assert reply.status == 200, reply.status
            sockets.append(site.websocket("/websocket/", cookie=f"sticky={reply.assigned}" if number % 2 else None))
            sockets[-1].recv()
        except Exception as error:
            failed.append(error)

    with concurrent.futures.ThreadPoolExecutor(50) as visitors:
        list(visitors.map(visit, range(50)))
    assert not failed
    heard(site, 50)
    numbers = [worker["incarnations"][0]["sessions"] for worker in site.status()["workers"]]
    assert sorted(numbers)[-50:] == [1] * 50, "each has its own"
    for socket in sockets:
        socket.close()
    until(lambda: heard(site, 0)["workers"] <= 14, "those that were used are gone")


@pytest.mark.slow
def test_an_app_that_nobody_uses_sleeps_and_wakes(site_of):
    site = site_of(isolated(idle_timeout=1)).start()
    for _ in range(2):
        tab = Tab(site)
        tab.close()
        ends(tab.pid)
        until(lambda: all(worker["asleep"] for worker in site.status()["workers"]), "it sleeps")
