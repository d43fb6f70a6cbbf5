"""Who is let in to a worker that is full, or whose launcher says that there is a line: the middleware alone."""

import asyncio
import time

import pytest

from shiny_sticky.worker import tokens
from shiny_sticky.worker.draining import ConnectionTracker, WorkerState
from shiny_sticky.worker.gate import WORD_SECONDS
from shiny_sticky.worker.middleware.waiting_room import WaitingRoomMiddleware
from shiny_sticky.worker.protocol import Gate
from shiny_sticky.worker.visitors import PAGE_SECONDS, Visitors
from support.virtual_clock import run

KEY = tokens.key_of("app", b"k" * 32)
PAGE = b"<html><head><title>x</title></head></html>"
KNOWN = {"cookie": "sticky=app2"}
RELOAD = {**KNOWN, "cache-control": "max-age=0"}
FRAME = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe", "sec-fetch-site": "same-origin"}


def admission(seconds: float = 15, key: bytes = KEY, kind: str = tokens.ADMISSION, name: str = "x") -> str:
    return tokens.make(key, kind, str(int(1000 * (time.time() + seconds))), name)


class Worker:
    """A worker with two places, behind whose middleware an app notes the queries that it sees.

    Attributes:
        state: what it counts.
        queries: what the app has seen.
        location: where the app redirects to; None if it answers with a page.
    """

    def __init__(self, path: str = "/") -> None:
        self.state = WorkerState(2, Visitors("app2.k3f9", "sticky"))
        self.queries: list[bytes] = []
        self.location: bytes | None = None
        self.app = ConnectionTracker(WaitingRoomMiddleware(self._app, self.state, path), self.state)

    async def _app(self, scope, receive, send) -> None:
        self.queries.append(scope["query_string"])
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(PAGE)).encode())]
        status = 200
        if self.location is not None:
            status, headers = 302, [(b"location", self.location)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})

    def word(self, closed: bool) -> None:
        """The launcher says something."""
        self.state.gate.obey(Gate(closed, KEY.hex()))

    async def ask(self, query: str = "", path: str = "/", method: str = "GET", **headers: str):
        """Ask for a page; gives the status, the headers and the body of the answer."""
        sent = {"accept": "text/html", "host": "here", **{key.replace("_", "-"): headers[key] for key in headers}}
        answer = []

        async def send(message) -> None:
            answer.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
        }
        await self.app(scope, None, send)
        body = b"".join(message.get("body", b"") for message in answer)
        return answer[0]["status"], dict(answer[0]["headers"]), body

    async def status(self, query: str = "", **asked: str) -> int:
        return (await self.ask(query, **asked))[0]


def played(scenario, **made) -> None:
    """Play a scenario with a worker, whose gate is closed."""

    async def play() -> None:
        worker = Worker(**made)
        worker.word(closed=True)
        await scenario(worker)

    run(play())


def test_newcomers_wait_while_the_gate_is_closed_and_only_as_long_as_that_is_said():
    async def scenario(worker: Worker) -> None:
        status, headers, body = await worker.ask()
        assert (status, headers[b"retry-after"], headers[b"cache-control"]) == (503, b"3", b"no-store")
        assert b"All places are taken" in body
        assert await worker.status(**KNOWN) == 503, "a cookie of yesterday is no place"
        assert (worker.state.expected, worker.queries) == (0, [])
        await asyncio.sleep(WORD_SECONDS)
        assert await worker.status() == 200, "the launcher is dead, or stopped"
        worker.word(closed=True)
        assert await worker.status() == 503
        worker.word(closed=False)
        assert await worker.status() == 200

    played(scenario)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 503),
        ({"method": "HEAD"}, 503),
        ({"method": "POST"}, 200),
        ({"accept": "*/*"}, 200),
        ({"accept": "*/*", "sec_fetch_mode": "navigate"}, 503),
        ({"sec_fetch_mode": "cors"}, 200),
        ({"path": "/session/app2.k3f9-abc/download/x"}, 200),
        ({"path": "/page"}, 503),
        (RELOAD, 200),
        ({**KNOWN, "cache-control": "no-cache"}, 200),
        ({"cache-control": "max-age=0"}, 503),
        ({"cookie": "sticky=app1", "cache-control": "max-age=0"}, 503),
        ({**RELOAD, "query": "sticky-ticket=none"}, 503),
        ({**RELOAD, "query": "a=b&sticky-admission="}, 503),
        ({**FRAME, "referer": "http://here/page?x"}, 200),
        ({**FRAME, "referer": "http://here/page?sticky-ticket=none"}, 503),
        ({**FRAME, "referer": "http://["}, 503),
        ({**FRAME, "sec-fetch-site": "cross-site", "referer": "http://here/"}, 503),
        ({**FRAME, "sec-fetch-dest": "document", "referer": "http://here/"}, 503),
    ],
)
def test_who_visits_waits_and_nothing_of_a_page_that_is_open_does(asked, status):
    async def scenario(worker: Worker) -> None:
        assert await worker.status(**asked) == status

    played(scenario)


def test_a_full_worker_takes_nobody_but_who_names_it_and_pages_count_until_their_sessions_come():
    async def scenario(worker: Worker) -> None:
        worker.word(closed=False)
        worker.state.sessions = 1
        assert [await worker.status() for _ in range(3)] == [200, 503, 503]
        assert await worker.status(**KNOWN) == 200
        assert await worker.status("sticky-ticket=none", **KNOWN) == 503
        await asyncio.sleep(PAGE_SECONDS)
        assert await worker.status() == 200

    played(scenario)


def test_an_admission_is_good_for_one_page_and_the_app_sees_nothing_of_it():
    async def scenario(worker: Worker) -> None:
        worker.state.sessions = 2
        good = admission()
        status, headers, body = await worker.ask(f"a=b&&sticky-admission={good}&sticky-ticket=t&c=%20+d")
        assert (status, worker.queries) == (200, [b"a=b&&c=%20+d"])
        assert body.startswith(b"<html><head><script>")
        assert int(headers[b"content-length"]) == len(body)
        assert worker.state.gate.admitted == 1
        assert await worker.status(f"sticky-admission={good}") == 503
        worker.word(closed=False)
        worker.state.sessions = 0
        assert await worker.status(f"sticky-admission={good}") == 200, "there is room; but that"
        assert worker.state.gate.admitted == 1

    played(scenario)


BAD = {
    "of the past": admission(seconds=-1),
    "another app's": admission(key=tokens.key_of("other", b"k" * 32)),
    "another site's": admission(key=tokens.key_of("app", b"x" * 32)),
    "a ticket": admission(kind=tokens.TICKET),
    "changed": admission()[:-1] + "g",
    "long": "a." + "9" * 500,
    "no text": "%00",
    "empty": "",
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_admission_opens_nothing_and_is_no_business_of_the_apps(bad):
    async def scenario(worker: Worker) -> None:
        assert await worker.status(f"sticky-admission={BAD[bad]}") == 503
        assert await worker.status(f"x&sticky-admission={BAD[bad]}", accept="*/*") == 200
        assert worker.queries == [b"x"]

    played(scenario)


def test_before_the_launcher_has_said_anything_no_key_is_good():
    async def scenario() -> None:
        worker = Worker()
        worker.state.sessions = 2
        assert await worker.status(f"sticky-admission={admission(key=b'')}") == 503

    run(scenario())


@pytest.mark.parametrize(
    ("location", "goes_along"),
    [
        (b"/in", b"/in?"),
        (b"in?a=b", b"in?a=b&"),
        (b"http://here/in#part", b"http://here/in?"),
        (b"//here/in", b"//here/in?"),
        (b"https://elsewhere/", None),
        (b"//elsewhere/", None),
        (b"mailto:a@b", None),
    ],
)
def test_an_admission_follows_the_apps_redirects_but_to_nobody_else(location, goes_along):
    async def scenario(worker: Worker) -> None:
        worker.location, good = location, admission()
        _, headers, _ = await worker.ask(f"sticky-admission={good}")
        if goes_along is None:
            assert headers[b"location"] == location
        else:
            assert headers[b"location"].startswith(goes_along + b"sticky-admission=" + good.encode())
            worker.location = None
            assert await worker.status(f"sticky-admission={good}") == 200

    played(scenario)


def test_the_page_to_wait_on_asks_beside_the_mount_and_comes_again_to_where_it_is():
    async def scenario(worker: Worker) -> None:
        _, _, body = await worker.ask('a="b"&sticky-ticket=<i>', path="/deep/in/it")
        assert b'data-from="../sticky-place"' in body
        assert b'content="3;url=?a=&quot;b&quot;&amp;sticky-ticket=&lt;i&gt;"' in body
        assert (await worker.ask(path="/deep/", method="HEAD"))[2] == b""

    played(scenario, path="/deep/")


def test_many_who_come_at_once_do_not_all_get_the_last_place():
    """While the app makes a page, who is to get it has a place."""

    async def scenario(worker: Worker) -> None:
        worker.word(closed=False)
        go = asyncio.Event()
        at_once = worker.app.app.app

        async def slow(scope, receive, send) -> None:
            await go.wait()
            await at_once(scope, receive, send)

        worker.app.app.app = slow
        visits = [asyncio.create_task(worker.status()) for _ in range(5)]
        await asyncio.sleep(1)
        go.set()
        assert sorted([await visit for visit in visits]) == [200, 200, 503, 503, 503]

    played(scenario)
