"""New visitors come to the worker with the fewest sessions, and the worker that answered says so itself."""

import concurrent.futures
import json
from collections import Counter

import pytest

from support.real_site import ECHO, Site, until

PAGES = """
from html import escape
from echo import app as echo


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/page":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<!doctype html>"})
    else:
        await echo(scope, receive, send)
"""


@pytest.fixture(scope="module")
def pages():
    """Four workers that serve a page, too, at /page; each test leaves them without sessions."""
    with Site(
        {"app": {"target": "pages.py:app", "workers": 4, "env": {"PYTHONPATH": ECHO.rpartition("/")[0]}}}
    ) as site:
        (site.folder / "pages.py").write_text(PAGES)
        yield site.start()


@pytest.fixture
def visitors(pages):
    """Opens sessions, and closes those that are left."""
    with Visitors(pages) as found:
        yield found


class Visitors:
    """Browsers with a session each.

    Args:
        site: of theirs.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.open = {worker: [] for worker in site.workers()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close(*self.open)

    def come(self, cookie: str | None = None) -> str:
        """A session begins: gives the worker."""
        socket = self.site.websocket(cookie=cookie)
        worker = json.loads(socket.recv())["worker"]
        self.open[worker].append(socket)
        return worker

    def load_page(self) -> str:
        """A page is loaded, whose session has not begun yet: gives the worker that its cookie names."""
        reply = self.site.ask("/page")
        assert reply.status == 200
        return reply.assigned

    def come_at_once(self, number: int, clients: int) -> None:
        """Many sessions begin, as many at a time as there are clients."""
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            for each in [pool.submit(self.come) for _ in range(number)]:
                each.result()

    def close(self, *workers: str) -> None:
        """All sessions of workers end, and the launcher hears of it."""
        for worker in workers:
            for socket in self.open[worker]:
                socket.close()
            self.open[worker].clear()
        self.heard()

    def heard(self) -> None:
        """Wait until the launcher knows who has what."""

        def told() -> bool:
            return self.site.all_heard() and all(
                self.site.sessions(worker) == len(sockets) for worker, sockets in self.open.items()
            )

        until(told, "the launcher has heard")

    def spread(self) -> int:
        numbers = [len(sockets) for sockets in self.open.values()]
        return max(numbers) - min(numbers)


def test_the_next_visitors_come_to_the_worker_with_the_fewest_sessions(visitors):
    visitors.come_at_once(16, clients=4)
    assert visitors.spread() <= 1
    visitors.heard()
    visitors.close("app3")
    others = max(len(visitors.open[worker]) for worker in ("app1", "app2", "app4"))
    for _ in range(others - 1):
        assert visitors.come() == "app3"
        visitors.heard()


def test_sessions_of_who_names_a_worker_count_as_well(visitors):
    for _ in range(3):
        assert visitors.come(cookie="sticky=app2") == "app2"
    visitors.heard()
    assert "app2" not in {visitors.come() for _ in range(6)}


def test_when_many_come_at_once_through_several_nginx_processes_the_spread_is_2_at_most(visitors):
    visitors.come_at_once(120, clients=16)
    assert visitors.spread() <= 2


def test_a_page_counts_until_its_session_begins(visitors):
    """A burst of pages is spread, though none has a session yet; the sessions then are where the pages were."""
    for _ in range(2):
        visitors.come(cookie="sticky=app1")
    visitors.heard()
    pages = Counter(visitors.load_page() for _ in range(6))
    assert pages["app1"] == 0
    assert max(pages.values()) - min(pages[worker] for worker in ("app2", "app3", "app4")) <= 2
    for worker in pages.elements():
        visitors.come(cookie=f"sticky={worker}")
    assert visitors.spread() <= 2


@pytest.mark.slow
def test_over_1000_sessions_held_open_the_fullest_and_the_emptiest_differ_by_2_at_most(site_of):
    with Visitors(site_of({"app": {"target": ECHO, "workers": 16}}).start()) as visitors:
        visitors.come_at_once(1000, clients=32)
        assert visitors.spread() <= 2


# --- who answered says so


@pytest.mark.parametrize("header", ["X-Sticky-Worker", "x-STICKY-worker"])
def test_an_app_cannot_say_that_another_one_has_answered(pages, header):
    for _ in range(4):
        reply = pages.ask(f"/?header={header}&value=app3")
        assert reply.assigned == reply.worker
        assert "X-Sticky-Worker" not in reply.headers


def test_browsers_are_not_told_but_by_the_cookie(pages):
    assert "X-Sticky-Worker" not in pages.ask().headers
    socket = pages.websocket()
    worker = json.loads(socket.recv())["worker"]
    assert "x-sticky-worker" not in socket.getheaders()
    assert socket.getheaders()["set-cookie"].startswith(f"sticky={worker}; ")
    socket.close()


def test_an_error_that_an_app_did_not_answer_itself_names_the_worker_too(site_of):
    site = site_of({"app": {"target": "broken.py:app", "workers": 2}})
    (site.folder / "broken.py").write_text("async def app(scope, receive, send):\n    raise RuntimeError('oops')\n")
    site.start()
    reply = site.ask()
    assert (reply.status, reply.assigned) == (500, reply.assigned)
    assert reply.assigned in site.workers()
