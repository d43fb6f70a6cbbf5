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

from support.cutting_proxy import CuttingProxy
from support.real_site import APPS, ECHO, Site, until
from support.resuming_client import ResumingClient

COUNTING = str(APPS / "counting.py")


def isolated(least: int = 1, most: int = 64, target: str = ECHO, **more) -> dict:
    """The settings of an app whose sessions share nothing."""
    return {"app": {"target": target, "isolation": "session", "workers": {"min": least, "max": most}, **more}}


class Tab:
    """A session, and whose it is.

    Attributes:
        worker: its worker.
        pid: its process.
    """

    def __init__(self, site: Site, cookie: str | None = None) -> None:
        self.socket = site.websocket(cookie=cookie)
        told = json.loads(self.socket.recv())
        self.worker, self.pid = told["worker"], told["pid"]
        self.cookie = self.socket.getheaders().get("set-cookie", "").partition(";")[0]

    def answers(self) -> bool:
        """Whether it has what it is asked for, there and back."""
        self.socket.send("still there?")
        return self.socket.recv() == "still there?"


def heard(site: Site, sessions: int) -> dict:
    """Wait until the launcher knows of so many sessions; gives the app's status."""

    def told() -> dict | None:
        (app,) = site.status()["apps"]
        return app if app["sessions"] == sessions else None

    return until(told, f"there are {sessions} sessions")


def ends(pid: int) -> None:
    until(lambda: not psutil.pid_exists(pid), f"{pid} has ended")


def test_each_session_has_a_process_which_ends_with_it_alone(site_of):
    site = site_of(isolated()).start()
    tabs = [Tab(site) for _ in range(6)]
    assert len({tab.pid for tab in tabs}) == 6
    assert heard(site, 6)["room"] <= 3
    until(lambda: heard(site, 6)["workers"] == 8, "two are spare")
    tabs[0].socket.close()
    ends(tabs[0].pid)
    assert all(tab.answers() for tab in tabs[1:])
    assert {tab.pid for tab in tabs[1:]} <= set(site.incarnations().values())

    for tab in tabs[1:]:
        tab.socket.close()
    for tab in tabs[1:]:
        ends(tab.pid)
    until(lambda: heard(site, 0)["workers"] == 2, "as many as are needed, and not after a quiet time")
    assert not site.said("has left|grows|shrinks|is back|started again"), "nothing is said of each session"
    assert all(worker["restarts"] == 0 for worker in site.status()["workers"])
    assert Tab(site).answers()


@pytest.mark.slow
def test_a_burst_of_50_visitors_in_2_seconds_is_refused_nothing(site_of):
    """From one worker on: each loads a page, and has a session, one half of them in browsers that block cookies."""
    site = site_of(isolated(target="app.py"))
    (site.folder / "app.py").write_text(
        "import os\nfrom shiny.express import input, render, ui\n"
        "ui.input_slider('n', 'n', 0, 10, 5)\n@render.text\ndef out():\n    return f'{input.n()} in {os.getpid()}'\n"
    )
    site.start()
    failed, tabs = [], []

    def visit(number: int) -> None:
        time.sleep(number / 25)
        try:
            reply = site.ask()
            assert reply.status == 200, reply.status
            tabs.append(site.websocket("/websocket/", cookie=f"sticky={reply.assigned}" if number % 2 else None))
            tabs[-1].recv()
        except Exception as error:
            failed.append(error)

    with concurrent.futures.ThreadPoolExecutor(50) as visitors:
        list(visitors.map(visit, range(50)))
    assert not failed
    heard(site, 50)
    names = {worker["name"] for worker in site.status()["workers"] if worker["incarnations"][0]["sessions"] == 1}
    assert len(names) == 50, "each has its own"
    for tab in tabs:
        tab.close()
    until(lambda: heard(site, 0)["workers"] <= 12, "those that were used are gone")
