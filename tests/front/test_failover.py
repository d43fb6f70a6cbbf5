"""What nginx does when a worker cannot be reached, or goes away in the middle of a request."""

import collections
import concurrent.futures
import contextlib
import json
import signal
import threading

import pytest

from support.load import PAUSE
from support.real_site import ECHO, Site, until
from support.waiting import answers

WORKERS = ["app1", "app2", "app3", "app4"]


def unattended(site: Site, dead: list[str]) -> Site:
    """Kill workers that the launcher shall not replace before the end of the test."""
    site.launcher.send_signal(signal.SIGSTOP)
    for worker in dead:
        site.kill(worker)
    return site


def test_a_dead_workers_clients_are_taken_over_within_the_request(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 3}}).start()
    until(site.all_heard, "each worker is heard")
    site.launcher.send_signal(signal.SIGSTOP)  # nobody replaces the worker
    site.kill("app2")
    replies = [site.ask(cookie="sticky=app2") for _ in range(6)]
    assert {reply.status for reply in replies} == {200}
    assert {reply.worker for reply in replies} == {"app1", "app3"}
    assert all(reply.assigned == reply.worker for reply in replies)

    socket = site.websocket(cookie="sticky=app2")
    worker = json.loads(socket.recv())["worker"]
    assert socket.getheaders()["set-cookie"].startswith(f"sticky={worker}; ")
    socket.close()

    fresh = collections.Counter(site.ask().worker for _ in range(12))
    assert set(fresh) == {"app1", "app3"}
    assert site.ask(cookie="sticky=app1").worker == "app1"
    site.launcher.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def last():
    """Fifteen of sixteen workers are dead."""
    with Site({"app": {"target": ECHO, "workers": 16}}) as site:
        site.start()
        yield unattended(site, [f"app{number}" for number in range(1, 17) if number != 9])


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("cookie", ["sticky=app2", "sticky=bogus", None])
def test_any_number_of_dead_workers_is_skipped(last, cookie, method):
    for _ in range(20):
        reply = last.ask(cookie=cookie, method=method, body=b"x")
        assert (reply.status, reply.worker, reply.assigned) == (200, "app9", "app9")
    socket = last.websocket(cookie=cookie)
    assert json.loads(socket.recv())["worker"] == "app9"
    socket.close()


def test_live_workers_take_even_shares_of_a_dead_ones_clients(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 4}}).start()
    until(site.all_heard, "each worker is heard")
    unattended(site, ["app2"])
    for cookie in ("sticky=app2", None):
        shares = collections.Counter(site.ask(cookie=cookie).worker for _ in range(12))
        assert shares == {"app1": 4, "app3": 4, "app4": 4}, cookie


def test_a_post_to_a_dead_worker_goes_to_another_with_its_body(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}).start()
    site.launcher.send_signal(signal.SIGSTOP)
    site.kill("app1")
    reply = site.ask(cookie="sticky=app1", method="POST", body=b"x" * 300_000)
    assert (reply.status, reply.worker, reply.json["size"]) == (200, "app2", 300_000)
    site.launcher.send_signal(signal.SIGCONT)


# --- a request that a worker has begun


@pytest.fixture(scope="module")
def fresh():
    """Four workers that note what they begin. nginx keeps no connection to them: whoever is asked dies of it."""
    with noting_site() as site:
        yield site.start()


@pytest.fixture(scope="module")
def warmed():
    """The same, for tests that let nginx keep connections first."""
    with noting_site() as site:
        yield site.start()


@contextlib.contextmanager
def unreplaced(site: Site):
    """Nobody replaces who dies before the end of the block."""
    (site.folder / "notes").unlink(missing_ok=True)
    unattended(site, [])
    try:
        yield
    finally:
        site.launcher.send_signal(signal.SIGCONT)
        dying = [note.split()[-1] for note in notes(site)]  # for a moment their sockets may still answer
        for worker in site.workers():
            if worker in dying or not answers(site.run_dir / f"{worker}.sock"):
                site.restart(worker)  # the launcher alone would wait ever longer


METHODS = pytest.mark.parametrize(
    ("method", "times"), [("POST", 1), ("PATCH", 1), ("PROPPATCH", 1), ("GET", 2), ("HEAD", 2), ("PUT", 2)]
)


@METHODS
@pytest.mark.parametrize("cookie", ["sticky=app1", "sticky=bogus"])
def test_a_request_goes_to_a_second_worker_if_idempotent_and_to_a_third_one_never(fresh, method, times, cookie):
    with unreplaced(fresh):
        kills(fresh, method, times, cookie)


@METHODS
@pytest.mark.parametrize("cookie", ["sticky=app1", None])
def test_nor_does_it_over_connections_that_were_kept(warmed, method, times, cookie):
    warm(warmed)
    with unreplaced(warmed):
        kills(warmed, method, times, cookie)


def kills(site: Site, method: str, times: int, cookie: str | None) -> None:
    """Send a request that kills whoever gets it, and see that some have noted it before, and no more."""
    reply = site.ask("/?note=begun&die=1", cookie=cookie, method=method, body=b"1")
    assert reply.status == 502
    assert not reply.set_cookies
    assert len(notes(site)) == times
    if cookie == "sticky=app1":
        assert notes(site)[0] == f"{method} begun app1"


@pytest.mark.parametrize("dead", [["app2"], ["app2", "app3"], ["app2", "app3", "app4"], ["app1", "app2"]])
def test_workers_that_cannot_be_reached_do_not_count(fresh, dead):
    with unreplaced(fresh):
        unattended(fresh, dead)
        reply = fresh.ask("/?note=begun&die=1", cookie="sticky=app1")
        assert reply.status == 502
        assert "Retry-After" not in reply.headers, "the page that comes back by itself would do it again"
        assert b"refresh" not in reply.body
        assert len(notes(fresh)) == min(2, 4 - len(dead))


def test_a_bad_request_takes_two_down_also_behind_a_row_of_dead_workers():
    with noting_site(workers=12) as site:
        unattended(site.start(), [f"app{number}" for number in range(1, 8)])
        assert site.ask("/?note=begun&die=1", cookie="sticky=app1").status == 502
        assert len(notes(site)) == 2


def noting_site(workers: int = 4) -> Site:
    site = Site()
    site.settings["apps"]["app"] = {
        "target": ECHO,
        "workers": workers,
        "env": {"NOTES": str(site.folder / "notes")},
    }
    site.write()
    return site


def notes(site: Site) -> list[str]:
    file = site.folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def warm(site: Site) -> None:
    """Let each of nginx's processes keep a connection to every worker, in the pool and by name."""
    with concurrent.futures.ThreadPoolExecutor(32) as clients:
        asked = [clients.submit(site.ask, "/", cookie) for cookie in [None, *map("sticky={}".format, WORKERS)] * 64]
    assert {each.result().status for each in asked} == {200}


def test_killing_workers_under_load_loses_no_page(site_of):
    site = site_of().start()
    stop, failures, loaded = threading.Event(), [], collections.Counter()

    def load_pages(cookie):
        while not stop.wait(PAUSE):
            reply = site.ask(cookie=cookie)
            loaded[cookie] += 1
            if reply.status != 200:
                failures.append((cookie, reply.status, reply.body[:200]))

    cookies = [None, *(f"sticky={worker}" for worker in WORKERS)]
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        clients = [pool.submit(load_pages, cookie) for cookie in cookies]
        try:
            for worker in WORKERS * 2:
                site.back(worker, site.kill(worker))
            until(lambda: len(loaded) == len(cookies) and min(loaded.values()) > 10, "each has loaded some")
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert not failures


def test_without_any_worker_there_is_a_page_that_comes_back_by_itself(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}).start()
    site.launcher.send_signal(signal.SIGSTOP)
    site.kill("app1")
    site.kill("app2")
    for cookie in (None, "sticky=app1", "sticky=bogus"):
        reply = site.ask(cookie=cookie)
        assert reply.status == 503
        assert int(reply.headers["Retry-After"]) > 0
        assert reply.headers["Content-Type"] == "text/html"
        assert b'http-equiv="refresh"' in reply.body
        assert not reply.set_cookies
    with pytest.raises(Exception, match="503"):
        site.websocket()
    site.launcher.send_signal(signal.SIGCONT)
    until(lambda: site.ask().status == 200, "the workers are back")


def test_what_is_no_page_load_is_not_repeated_by_a_page():
    """The page would ask for the same URL with GET, which may be something else altogether."""
    with noting_site(workers=2) as site:
        unattended(site.start(), ["app1", "app2"])
        for cookie in (None, "sticky=app1", "sticky=bogus"):
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                reply = site.ask("/?note=begun", cookie=cookie, method=method, body=b"x")
                assert reply.status == 503, (cookie, method)
                assert reply.headers["Content-Type"] == "text/plain"
                assert int(reply.headers["Retry-After"]) > 0, "for programs; browsers do nothing by themselves"
                assert b"refresh" not in reply.body
                assert b"Nothing was begun" in reply.body
        assert not (site.folder / "notes").exists()


def test_a_page_load_that_kills_comes_back_by_itself_only_until_it_is_begun():
    """A browser is shown the waiting page, as nobody is up; what it asks for then kills two, and it is told so."""
    with noting_site(workers=3) as site:
        unattended(site.start(), ["app1", "app2", "app3"])
        assert b'http-equiv="refresh"' in site.ask("/?note=begun&die=1").body
        site.launcher.send_signal(signal.SIGCONT)
        until(lambda: all(answers(site.run_dir / f"{worker}.sock") for worker in site.workers()), "all are back")
        reply = site.ask("/?note=begun&die=1")
        assert (reply.status, len(notes(site))) == (502, 2)
        assert b"refresh" not in reply.body


def test_a_worker_that_hangs_up_on_a_post_is_no_reason_to_try_again(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    reply = site.ask("/?die=1", method="POST", body=b"1")
    assert reply.status == 502
    assert "Retry-After" not in reply.headers
