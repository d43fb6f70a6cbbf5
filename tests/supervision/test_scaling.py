"""How many workers an app should have: decided without a process, and done with real ones."""

import json
import threading
import time

import pytest

from shiny_sticky.memory import Memory, look
from shiny_sticky.settings.workers import ISOLATED_BYTES, WORKER_BYTES, WorkerRange
from shiny_sticky.supervision.scaling import (
    AGAIN_SECONDS,
    ISOLATED_QUIET_SECONDS,
    LATE_SECONDS,
    QUIET_SECONDS,
    Situation,
    Wanted,
    WorkerLoad,
    decide,
)
from shiny_sticky.supervision.status import scaled
from support.real_site import ECHO, Site, until

PLENTY = Memory(total=16 << 30, available=12 << 30)
WANTED = Wanted(WorkerRange(1, 64), sessions_per_worker=8, spare=1)


def situation(*sessions: int, memory: Memory = PLENTY, late: float = 0.0, **more) -> Situation:
    """Workers with so many sessions each."""
    workers = [WorkerLoad(f"app{number}", count, late) for number, count in enumerate(sessions, start=1)]
    return Situation(workers, lambda: memory, **more)


@pytest.mark.parametrize(
    ("sessions", "needed"), [(0, 1), (1, 2), (8, 2), (9, 3), (16, 3), (250, 33), (503, 64), (5000, 64)]
)
def test_there_are_workers_for_all_sessions_and_the_spare_ones_within_the_range(sessions, needed):
    assert WANTED.needed(sessions) == needed


def test_it_grows_at_once_by_all_that_are_missing_and_says_why():
    decision = decide(WANTED, situation(20, 5))
    assert decision.grow == 3
    assert "25 sessions in 2 workers (sessions_per_worker: 8, spare: 1)" in decision.reason


def test_who_waits_for_a_place_counts_as_who_has_one():
    decision = decide(Wanted(WorkerRange(1, 64), sessions_per_worker=2, spare=0), situation(2, 2, waiting=3))
    assert decision.grow == 2
    assert "4 sessions in 2 workers, 3 waiting" in decision.reason


def test_it_does_not_grow_beyond_its_maximum():
    assert decide(Wanted(WorkerRange(1, 3), 8, 1), situation(90, 90, 90)).grow == 0


def test_better_a_full_worker_than_a_dead_machine():
    tight = Memory(total=1 << 30, available=(1 << 30) // 10 + 1 + 2 * WORKER_BYTES)
    assert decide(WANTED, situation(80, memory=tight)).grow == 2, "as many as there is room for"
    none = Memory(total=1 << 30, available=120 << 20)
    decision = decide(WANTED, situation(80, memory=none))
    assert decision.grow == 0
    assert "120 MB of 1024 MB of memory are all that is left" in decision.reason


def test_a_late_worker_with_more_than_one_session_gets_help():
    decision = decide(WANTED, situation(2, 2, late=LATE_SECONDS))
    assert decision.grow == 1
    assert "is late by 0.5 s with 2 sessions" in decision.reason


@pytest.mark.parametrize(
    "idle",
    [
        situation(2, 2, late=LATE_SECONDS * 0.9),
        situation(1, 1, late=LATE_SECONDS),
        situation(2, 2, late=LATE_SECONDS, settled=AGAIN_SECONDS * 0.9),
    ],
)
def test_one_that_is_not_late_or_alone_or_was_helped_just_now_gets_none(idle):
    assert decide(WANTED, idle).grow == 0


def test_after_a_quiet_time_the_emptiest_leaves_of_several_the_last_one():
    decision = decide(WANTED, situation(3, 1, 2, 1, quiet=QUIET_SECONDS))
    assert (decision.shrink, decision.grow) == ("app4", 0)
    assert "7 sessions in 4 workers" in decision.reason


@pytest.mark.parametrize(
    "busy",
    [
        situation(3, 1, 2, 1, quiet=QUIET_SECONDS * 0.9),
        situation(3, 1, 2, 1, quiet=QUIET_SECONDS, leaving=True),
        situation(1, 0, quiet=QUIET_SECONDS),
        situation(0, quiet=QUIET_SECONDS),
    ],
)
def test_nobody_leaves_too_early_nor_beside_another_nor_below_what_is_needed(busy):
    assert decide(WANTED, busy).shrink == ""


def test_where_each_session_has_a_worker_those_that_nobody_came_to_leave_sooner():
    alone = Wanted(WorkerRange(1, 64), sessions_per_worker=1, spare=2, isolated=True)
    left = {"quiet": ISOLATED_QUIET_SECONDS, "settled": 0.0}
    assert decide(alone, situation(1, 0, 1, 0, 0, **left)).shrink == "app5"
    assert decide(alone, situation(1, 0, 1, 0, **left)).shrink == ""
    assert decide(WANTED, situation(1, 0, 1, 0, 0, **left)).shrink == ""


def test_where_each_session_has_a_worker_there_is_memory_for_more_of_them():
    alone = Wanted(WorkerRange(1, 64), sessions_per_worker=1, spare=2, isolated=True)
    tight = Memory(total=1 << 30, available=(1 << 30) // 10 + 1 + 2 * ISOLATED_BYTES)
    decision = decide(alone, situation(1, 1, 1, memory=tight))
    assert decision.grow == 2
    assert "3 sessions in 3 workers (isolation: session, spare: 2)" in decision.reason
    assert decide(WANTED, situation(80, memory=tight)).grow == 0


def test_the_memory_is_that_of_the_machine_or_of_a_group_with_less():
    found = look()
    assert 0 <= found.available <= found.total


def test_status_says_how_many_there_are_and_why_for_apps_whose_number_changes():
    app = {
        "name": "app",
        "workers": 3,
        "min": 1,
        "max": 8,
        "sessions": 9,
        "suspended": 0,
        "room": 15,
        "scaled": "grows from 2 to 3",
        "isolated": False,
    }
    status = {"apps": [app, {**app, "name": "other", "min": 8}]}
    assert scaled(status) == ["app: 3 of 1 to 8 workers, 9 sessions, room for 15 more; it grows from 2 to 3"]
    (line,) = scaled({"apps": [{**app, "suspended": 2}]})
    assert "9 sessions (2 suspended), room for 15 more" in line
    (line,) = scaled({"apps": [{**app, "workers": 11, "max": 64, "room": 2, "isolated": True}]})
    assert line == "app: 9 sessions of 64 at most, each in a process of its own; 11 workers, 2 of them free"


# --- with real workers


def sessions_of(site: Site) -> dict[str, int]:
    return {worker["name"]: worker["incarnations"][0]["sessions"] for worker in site.status()["workers"]}


class Sessions:
    """Sessions of new visitors.

    Attributes:
        open: each with its worker.
    """

    def __init__(self, site: Site, number: int) -> None:
        self.open = []
        for _ in range(number):
            socket = site.websocket()
            self.open.append((json.loads(socket.recv())["worker"], socket))

    def live(self) -> bool:
        """Whether all still answer, and so have not been dropped."""
        for _, socket in self.open:
            socket.send("still there?")
        return all(socket.recv() == "still there?" for _, socket in self.open)


def app_status(site: Site) -> dict:
    (found,) = site.status()["apps"]
    return found


def test_workers_come_with_the_sessions_and_deploys_keep_them(site_of):
    """Without a reload of nginx, and with nobody refused; a name that is not there yet leads to one that is."""
    app = {"target": ECHO, "workers": {"min": 1, "max": 8}, "sessions_per_worker": 2}
    site = site_of({"app": app}).start()
    assert site.ask(cookie="sticky=app7").assigned == "app1"
    workers_of_nginx = site.nginx_pid()
    open_ones = Sessions(site, 9)
    until(lambda: len(sessions_of(site)) == 6, "five for nine sessions, and a spare one")
    assert site.says(
        r"App app grows from 1 to \d workers: \d sessions? in 1 worker \(sessions_per_worker: 2, spare: 1\)"
    )
    assert app_status(site)["scaled"].startswith("grows from ")
    until(lambda: sum(sessions_of(site).values()) == 9, "the launcher knows")
    before = sessions_of(site)
    fresh = Sessions(site, 3)
    most = max(before.values())
    assert all(before.get(worker, 0) < most for worker, _ in fresh.open), "the others take the next"
    assert site.nginx_pid() == workers_of_nginx
    assert not site.said("nginx has read its new configuration")

    until(lambda: app_status(site)["workers"] == 7, "seven for twelve")
    before = {name: site.incarnation(name) for name in sessions_of(site)}
    assert "Deployed 7 workers" in site.reload()
    assert all(site.incarnation(name) != old for name, old in before.items())
    assert open_ones.live()
    assert fresh.live()


@pytest.mark.slow
def test_workers_leave_after_a_quiet_time_and_the_names_of_the_gone_lead_to_others(site_of):
    app = {"target": ECHO, "workers": {"min": 1, "max": 4}, "sessions_per_worker": 1}
    site = site_of({"app": app}).start()
    sockets = [site.websocket() for _ in range(3)]
    for socket in sockets:
        socket.recv()  # a ping behind what is not read would not be answered
    until(lambda: app_status(site)["workers"] == 4, "one each, and a spare one")
    for socket in sockets[1:]:
        socket.close()
    shrinks = r"App app shrinks from 4 to 3 workers, app\d leaves: 1 session in 4 workers"
    until(lambda: site.said(shrinks), "one leaves", timeout=4 * QUIET_SECONDS)
    until(lambda: app_status(site)["workers"] == 2, "one is used, one is spare", timeout=6 * QUIET_SECONDS)
    gone = {"app1", "app2", "app3", "app4"} - set(sessions_of(site))
    for name in gone:
        reply = site.ask(cookie=f"sticky={name}")
        assert (reply.status, reply.assigned) == (200, reply.worker)
    sockets[0].send("still there?")
    assert sockets[0].recv() == "still there?"


@pytest.mark.slow
def test_a_burst_of_250_users_in_10_seconds_is_refused_nothing(site_of):
    """From one worker to 32: each user loads a page, then has a session on the worker that its cookie names."""
    app = {"target": "app.py", "workers": {"min": 1, "max": 32}}
    site = site_of({"app": app})
    (site.folder / "app.py").write_text(
        "from shiny.express import input, render, ui\n"
        "ui.input_slider('n', 'n', 0, 10, 5)\n@render.text\ndef out():\n    return str(input.n())\n"
    )
    site.start()
    failed, open_ones, lock = [], [], threading.Lock()

    def visit(delay: float) -> None:
        time.sleep(delay)  # users come when they like
        try:
            reply = site.ask()
            assert reply.status == 200
            socket = site.websocket("/websocket/", cookie=f"sticky={reply.assigned}")
            socket.recv()
            with lock:
                open_ones.append(socket)
        except Exception as error:
            failed.append(error)

    users = [threading.Thread(target=visit, args=(number / 25,)) for number in range(250)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert not failed
    until(lambda: app_status(site)["workers"] == 32, "as many as there may be")
    until(lambda: sum(sessions_of(site).values()) == 250, "all are open")
    for socket in open_ones:
        socket.close()
