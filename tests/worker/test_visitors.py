"""Who is about to have a session: counted for a while, and told apart from those who name the worker."""

import asyncio

import pytest

from shiny_sticky.worker.draining import ConnectionTracker, WorkerState
from shiny_sticky.worker.visitors import PAGE_SECONDS, Visitors
from shiny_sticky.worker.warm_up import render_page
from support.virtual_clock import run


def scope(kind: str = "http", cookie: str = "", path: str = "/", method: str = "GET") -> dict:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return {"type": kind, "path": path, "method": method, "headers": headers}


def answering(status: int, content_type: str):
    """An app that gives one answer to each request, and accepts each websocket, to close it at once."""

    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    return app


async def nothing(*_):
    """An ASGI `receive` or `send` of which nothing comes."""


def tracked(status: int = 200, content_type: str = "text/html; charset=utf-8"):
    """The state of a worker, and its app behind the tracker."""
    state = WorkerState(visitors=Visitors("app2.k3f9", "sticky"))
    return state, ConnectionTracker(answering(status, content_type), state)


def test_a_page_is_expected_to_have_a_session_until_that_comes_or_for_a_while():
    async def scenario() -> None:
        state, app = tracked()
        changes = []
        state.on_change = lambda: changes.append((state.expected, state.sessions))
        await app(scope(), nothing, nothing)
        await app(scope(), nothing, nothing)
        assert (state.expected, changes) == (2, [(1, 0), (2, 0)])
        await app(scope("websocket"), nothing, nothing)
        assert (state.expected, state.sessions_served) == (1, 1)
        await asyncio.sleep(PAGE_SECONDS)
        assert state.expected == 0

    run(scenario())


@pytest.mark.parametrize(
    ("status", "content_type", "method"),
    [(200, "application/json", "GET"), (404, "text/html", "GET"), (200, "text/html", "POST")],
)
def test_what_is_no_page_is_not_expected_to_have_one(status, content_type, method):
    async def scenario() -> None:
        state, app = tracked(status, content_type)
        await app(scope(method=method), nothing, nothing)
        assert (state.expected, state.visitors.pages_taken) == (0, 0)

    run(scenario())


@pytest.mark.parametrize(
    ("cookie", "path", "taken"),
    [
        ("", "/", 1),
        ("sticky=app1", "/", 1),
        ("sticky=app22", "/", 1),
        ("xsticky=app2", "/", 1),
        ("sticky=app2", "/", 0),
        ("a=b;\tsticky=app2 ; c", "/", 0),
        ("", "/session/app2.k3f9-abc/websocket/", 0),
        ("", "/session/app2.aaaa-abc/websocket/", 1),
    ],
)
def test_who_names_the_worker_has_not_come_by_a_seat(cookie, path, taken):
    async def scenario() -> None:
        state, app = tracked()
        await app(scope(cookie=cookie, path=path), nothing, nothing)
        await app(scope("websocket", cookie=cookie, path=path), nothing, nothing)
        assert (state.visitors.pages_taken, state.visitors.sessions_taken) == (taken, taken)

    run(scenario())


def test_the_page_that_a_worker_asks_itself_for_is_nobodys():
    """Else a worker with one place would be full for its first seconds."""

    async def scenario() -> None:
        state, app = tracked()
        await render_page(app, "/")
        assert (state.expected, state.visitors.pages_taken) == (0, 0)

    run(scenario())


@pytest.mark.parametrize(("cookie", "named"), [("sticky=app2", True), ("sticky=app1", False), ("", False)])
def test_who_is_turned_away_by_name_is_expected_no_more(cookie, named):
    async def scenario() -> None:
        state, app = tracked()
        await app(scope(), nothing, nothing)
        assert state.visitors.turn_away(scope("websocket", cookie=cookie, path="/websocket/")) == named
        assert state.expected == (0 if named else 1)

    run(scenario())


def test_a_worker_for_one_session_takes_no_other_when_that_is_over():
    async def scenario() -> None:
        state = WorkerState(1, Visitors("app2.k3f9", "sticky"), isolated=True)
        app = ConnectionTracker(answering(200, "text/html"), state)
        assert not state.full
        await app(scope("websocket"), nothing, nothing)
        assert (state.sessions, state.sessions_served, state.full) == (0, 1, True)

    run(scenario())
