"""Whatever is sent, acknowledged, cut and resumed, in whatever order: both sides get all of it, once and in order.

The worker's side is the real middleware, the page's the real script in Chromium; what is between is played here.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shiny_sticky.worker.draining import WorkerState
from shiny_sticky.worker.resume import page as page_script
from shiny_sticky.worker.resume.middleware import ResumeMiddleware
from shiny_sticky.worker.resume.session import Limits
from shiny_sticky.worker.resume.sessions import Sessions
from support.browser import chromium

# Sequences that are tried; more by RESUME_EXAMPLES=1000.
FIND = int(os.environ.get("RESUME_EXAMPLES", "12"))

FAKE_PAGE = (Path(__file__).parent.parent / "support" / "fake_page.js").read_text()

STEPS = st.lists(
    st.sampled_from(
        ["page sends", "app sends", "to worker", "to page", "cut", "page notices", "worker notices", "waits"]
    ),
    min_size=10,
    max_size=30,
)


@pytest.fixture(scope="module")
def tab():
    with chromium() as browser:
        yield browser.new_page()


@pytest.fixture(scope="module")
def loop():
    """The worker's event loop, in a thread of its own: Playwright has one here."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


class Line:
    """One connection between the two, with what is on its way."""

    def __init__(self) -> None:
        self.to_page: list[dict] = []
        self.to_worker: list[dict] = []
        self.inbox: asyncio.Queue[dict] = asyncio.Queue()
        self.cut = self.page_knows = self.worker_knows = self.opened = False


class Play:
    """A session of the two, step by step."""

    def __init__(self, tab: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._tab = tab
        self._loop = loop
        self._lines: list[Line] = []
        self._app_send: Any = None
        self.sent_by_app: list[str] = []
        self.sent_by_page: list[str] = []
        self.taken_by_app: list[str] = []
        self._worker(self._make())
        tab.goto("about:blank")
        tab.evaluate(FAKE_PAGE)
        tab.evaluate(page_script.SCRIPT.decode())
        tab.evaluate("page.begin()")
        self._settle()

    async def _make(self) -> None:
        sessions = Sessions(Limits(300, 1 << 22), 100, WorkerState())
        self._middleware = ResumeMiddleware(self._app, "app1.abcd", sessions)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._app_send = send
        while (message := await receive())["type"] == "websocket.receive":
            self.taken_by_app.append(message["text"])

    def do(self, step: str) -> None:
        """Let something happen."""
        line = self._lines[-1]
        if step == "page sends":
            self.sent_by_page.append(f"p{len(self.sent_by_page)}")
            self._tab.evaluate("text => page.socket.send(text)", self.sent_by_page[-1])
        elif step == "app sends" and self._app_send is not None:
            self.sent_by_app.append(f"a{len(self.sent_by_app)}")
            self._worker(self._app_send({"type": "websocket.send", "text": self.sent_by_app[-1]}))
        elif step == "to worker" and line.to_worker and not line.cut:
            self._worker(self._arrive(line, line.to_worker.pop(0)))
        elif step == "to page" and line.to_page and not line.cut:
            self._tab.evaluate(
                "([number, message]) => page.hears(number, message)", [len(self._lines) - 1, line.to_page.pop(0)]
            )
        elif step == "cut":
            line.cut = True
        elif step == "page notices":
            self._notice(lambda line: line.cut and not line.page_knows, self._page_loses)
        elif step == "worker notices":
            self._notice(lambda line: line.cut and not line.worker_knows, self._worker_loses)
        elif step == "waits":
            self._tab.evaluate("page.waits()")
        self._settle()

    def heal(self) -> None:
        """Let everything that is on its way arrive, and both know what there is to know."""
        for _ in range(200):
            before = self._state()
            for step in ("page notices", "worker notices", "to worker", "to page"):
                self.do(step)
            if self._state() == before:
                if self._tab.evaluate("page.socket.carrier !== null") and not self._lines[-1].cut:
                    return
                self.do("waits")
        raise AssertionError("the two do not find together")

    def _state(self) -> list[Any]:
        return [(line.to_page[:], line.to_worker[:], line.page_knows, line.worker_knows) for line in self._lines]

    def _notice(self, condition: Any, act: Any) -> None:
        for number, line in enumerate(self._lines):
            if condition(line):
                act(number, line)
                return

    def _page_loses(self, number: int, line: Line) -> None:
        line.page_knows = True
        self._tab.evaluate("number => page.loses(number, 1006)", number)

    def _worker_loses(self, number: int, line: Line) -> None:
        line.worker_knows = True
        self._worker(self._arrive(line, None))

    def _settle(self) -> None:
        """See what the page has done: new connections are made, those that it closes are cut."""
        before = -1
        while len(self._lines) != before:
            before = len(self._lines)
            for number, told in enumerate(self._tab.evaluate("page.taken()")):
                if number == len(self._lines):
                    self._lines.append(Line())
                line = self._lines[number]
                line.to_worker.extend(told["sent"])
                if told["closed"] is not None and not line.page_knows:
                    line.cut = True
                    self._page_loses(number, line)
                if not line.opened and not line.cut:
                    line.opened = True
                    self._worker(self._connect(line, told["url"]))
                    self._tab.evaluate("number => page.opens(number)", number)
                    line.to_worker.extend(self._tab.evaluate("number => page.says(number)", number))

    async def _connect(self, line: Line, url: str) -> None:
        scope = {
            "type": "websocket",
            "path": url.removeprefix("ws://here").partition("?")[0],
            "headers": [],
            "subprotocols": ["resume.shiny-sticky"],
        }

        async def send(message: dict) -> None:
            if message["type"] == "websocket.close":
                line.cut = True
            elif message["type"] == "websocket.send":
                content = (
                    {"text": message["text"]} if message.get("text") is not None else {"bytes": [*message["bytes"]]}
                )
                line.to_page.append(content)

        line.inbox.put_nowait({"type": "websocket.connect"})
        line.serving = asyncio.create_task(self._middleware(scope, line.inbox.get, send))
        await _rest()

    async def _arrive(self, line: Line, message: dict | None) -> None:
        if message is None:
            line.inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        else:
            content = message.get("bytes")
            told = {"text": message.get("text"), "bytes": bytes(content) if content is not None else None}
            line.inbox.put_nowait({"type": "websocket.receive", **told})
        await _rest()

    def _worker(self, act: Any) -> None:
        asyncio.run_coroutine_threadsafe(_and_rest(act), self._loop).result(60)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _and_rest(act: Any) -> None:
    await act
    await _rest()


async def _rest() -> None:
    """Let the worker do all that there is to do."""
    for _ in range(12):
        await asyncio.sleep(0)


@pytest.mark.slow
@settings(
    max_examples=FIND, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_nothing_is_lost_doubled_or_moved(tab, loop, steps):
    play = Play(tab, loop)
    for step in steps:
        play.do(step)
    play.heal()
    assert tab.evaluate("page.received") == play.sent_by_app
    assert play.taken_by_app == play.sent_by_page
    assert tab.evaluate("page.ended") is None
