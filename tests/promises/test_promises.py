"""The figures that the project promises, with the shipped demo on four workers."""

import collections
import concurrent.futures
import re
import time

import pytest

from support.load import PageLoads
from support.real_site import ROOT, Reply, Site, until

WORKERS = ["app1", "app2", "app3", "app4"]


@pytest.fixture(scope="module")
def demo():
    with Site({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 4}}) as site:
        yield site.start()


def told(reply: Reply) -> tuple[int, str | None]:
    """The status, and the worker that the cookie names."""
    return reply.status, reply.assigned


def answered(site: Site, cookie: str | None, requests: int) -> collections.Counter:
    """Who answered requests that come 16 at once: by the cookie that new clients get, by nginx's log for others."""
    path = f"/?by={cookie}"  # the log may have yet to tell of requests before these
    with concurrent.futures.ThreadPoolExecutor(16) as clients:
        replies = list(clients.map(lambda _: told(site.ask(path, cookie=cookie)), range(requests)))
    assert {status for status, _ in replies} == {200}
    if cookie is None:
        return collections.Counter(assigned for _, assigned in replies)

    def lines() -> list[str]:
        log = (site.run_dir / "nginx-access.log").read_text()
        return [line for line in log.splitlines() if path in line]

    until(lambda: len(lines()) == requests, "all are in the log")
    return collections.Counter(re.findall(r"/(\w+)\.sock -$", line)[0] for line in lines())


def test_4000_new_clients_are_1000_on_each_of_4_workers(demo):
    def seats_moved() -> int:
        return (demo.run_dir / "pages").stat().st_mtime_ns

    for _ in range(10):
        demo.emptied()
        before = seats_moved()
        counts = answered(demo, None, 4000)
        if seats_moved() == before:  # else a worker was not heard for a while, on a busy machine
            break
    assert sorted(counts) == WORKERS
    assert all(abs(count - 1000) <= 1 for count in counts.values()), counts


def test_4000_requests_with_a_cookie_are_all_on_its_worker(demo):
    assert answered(demo, "sticky=app3", 4000) == {"app3": 4000}


def test_ten_killed_workers_under_50_page_loads_a_second_lose_none(demo):
    """Page loads start on the clock, not when the last one is done; half are new clients, half have a cookie."""
    cookies = [cookie for worker in WORKERS for cookie in (None, f"sticky={worker}")]
    began = time.monotonic()
    with PageLoads(demo, cookies, rate=50, ending=b"</html>") as load:
        for number in range(10):
            worker = WORKERS[number % 4]
            demo.back(worker, demo.kill(worker))
            load.catch_up()  # what two workers in a row have begun, and failed, is lost by the rule
        seconds = time.monotonic() - began
    assert not load.failures, load
    assert load.loaded.total() >= 40 * seconds, "the load was as promised"
