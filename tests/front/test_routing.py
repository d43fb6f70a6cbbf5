"""The promise of the project: the cookie's name is the route, and whoever answers names the cookie."""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import time

import pytest

from support.real_site import ECHO, until

WORKERS = ["app1", "app2", "app3", "app4"]


@contextlib.contextmanager
def in_turn(site):
    """New visitors come in turn meanwhile: on a busy machine the launcher leads them past a worker not heard of."""
    site.emptied()
    with site.launcher_stopped():
        yield


@pytest.mark.parametrize("worker", WORKERS)
def test_a_known_name_goes_to_that_worker_and_sets_no_cookie(site, worker):
    for _ in range(8):
        reply = site.ask(cookie=f"sticky={worker}")
        assert (reply.status, reply.worker, reply.set_cookies) == (200, worker, [])


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "",
        "sticky",
        "sticky=",
        "sticky=app0",
        "sticky=app5",
        "sticky=app01",
        "sticky=app1.sock",
        "sticky=app1.k3f9",
        "sticky=app",
        "sticky=app_pool",
        "sticky=APP1",
        "sticky=App1",
        "STICKY=app1",
        "sticky_app=app1",
        "xsticky=app1",
        "other=1; notsticky=app2",
        'sticky="app1"',
        "sticky=app1,app2",
        "sticky=app1 app2",
        "sticky=../app1",
        "sticky=%61pp1",
        "sticky=" + "app1" * 500,
        "sticky=app" + "1" * 300,
        "other=sticky=app1",
        "other=1, sticky=app1",
        b"sticky=app\xff1",
        b"sticky=\xc2\xa0app1",
    ],
)
def test_anything_else_goes_round_robin_and_is_named_by_who_answers(site, cookie):
    with in_turn(site):
        replies = [site.ask(cookie=cookie) for _ in range(8)]
    assert collections.Counter(reply.worker for reply in replies) == dict.fromkeys(WORKERS, 2)
    assert all(reply.assigned == reply.worker for reply in replies)


@pytest.mark.parametrize(
    ("cookie", "worker", "sets"),
    [
        ("sticky=app2; sticky=app3", "app2", None),
        ("sticky=bogus; sticky=app3", "app3", "app3"),
        ("sticky=; sticky=app3; sticky=app1", "app3", "app3"),
        ("sticky=app3; sticky=bogus", "app3", None),
        ("a=1;sticky=app4;b=2", "app4", None),
        ("a=1;  sticky=app4  ; b=2", "app4", None),
        ("a; ;=;sticky=app4", "app4", None),
        ("sticky_x=app1; sticky=app2", "app2", None),
        ("a=" + "x" * 3000 + "; sticky=app2", "app2", None),
    ],
)
def test_the_first_valid_name_counts(site, cookie, worker, sets):
    for _ in range(3):
        reply = site.ask(cookie=cookie)
        assert (reply.worker, reply.assigned) == (worker, sets)


def test_the_cookies_of_two_header_lines_count_as_one(site):
    reply = site.ask(headers={"Cookie": "a=1", "cookie": "sticky=app3"})
    assert (reply.worker, reply.assigned) == ("app3", None)


@pytest.mark.parametrize("status", [200, 204, 302, 304, 400, 404, 418, 500, 503])
def test_the_cookie_is_set_on_every_status(site, status):
    reply = site.ask(f"/?status={status}")
    assert reply.status == status
    assert reply.assigned in WORKERS


def test_a_websocket_goes_where_its_cookie_says(site):
    for worker in WORKERS:
        socket = site.websocket(cookie=f"sticky={worker}")
        assert json.loads(socket.recv())["worker"] == worker
        assert "set-cookie" not in socket.getheaders()
        socket.send("still there?")
        assert socket.recv() == "still there?"
        socket.close()


def test_a_new_websocket_gets_its_cookie_with_the_101(site):
    seen = []
    with in_turn(site):
        for _ in range(8):
            socket = site.websocket()
            worker = json.loads(socket.recv())["worker"]
            assert socket.getstatus() == 101
            assert socket.getheaders()["set-cookie"].startswith(f"sticky={worker}; ")
            socket.close()
            seen.append(worker)
    assert collections.Counter(seen) == dict.fromkeys(WORKERS, 2)


def test_new_clients_are_spread_evenly_when_they_come_at_once(site):
    """Over 4 live workers and 1,001 clients at once, through several nginx processes."""
    site.emptied()
    with site.launcher_stopped(), concurrent.futures.ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda _: site.ask(), range(1001)))
    counts = collections.Counter(reply.worker for reply in replies)
    assert sorted(counts) == WORKERS
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(reply.assigned == reply.worker for reply in replies)


def test_keep_alive_connections_are_routed_request_by_request(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    for worker in WORKERS * 3:
        connection.request("GET", "/", headers={"Cookie": f"sticky={worker}"})
        response = connection.getresponse()
        assert json.loads(response.read())["worker"] == worker
        assert response.headers["Connection"] == "keep-alive"
    connection.close()


# --- what a name means stays


def test_restarting_anything_changes_no_mapping(site_of):
    site = site_of().start()

    def mapping():
        return {cookie: site.ask(cookie=f"sticky={cookie}").json["worker"] for cookie in WORKERS}

    before = mapping()
    assert before == {name: name for name in WORKERS}

    site.back("app2", site.kill("app2"))
    assert mapping() == before

    old = site.nginx_pid()
    os.kill(old, signal.SIGKILL)
    until(lambda: site.nginx_pid() not in (0, old) and site.said("nginx is back"), "nginx is back")
    assert mapping() == before

    assert site.stop() == 0
    site.start()
    assert mapping() == before

    site.kill_launcher()
    assert mapping() == before
    site.start()
    assert mapping() == before


def test_a_busy_worker_keeps_its_clients(site):
    """A worker that computes is up: its clients wait for it, they are not sent elsewhere."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        replies = list(pool.map(lambda _: site.ask("/?sleep=0.5", cookie="sticky=app3"), range(8)))
    assert {reply.worker for reply in replies} == {"app3"}
    assert time.monotonic() - began >= 0.5


def test_visitors_without_cookies_come_to_all_workers_with_page_and_websocket(site_of):
    """Each comes twice, one after another: with one round for both, half of the workers would have all sessions."""
    site = site_of({"app": {"target": ECHO, "workers": 4}}).start()
    pages, sessions, sockets = collections.Counter(), collections.Counter(), []
    for _ in range(12):
        pages[site.ask().worker] += 1
        sockets.append(site.websocket())  # and stays: who comes next comes to whoever has fewer sessions
        sessions[json.loads(sockets[-1].recv())["worker"]] += 1
    assert len(pages) == len(sessions) == 4
    assert max(sessions.values()) - min(sessions.values()) <= 1
