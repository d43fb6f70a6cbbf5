"""One visit, played as it was recorded."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from shiny_sticky import __version__
from shiny_sticky.client.load import messages
from shiny_sticky.client.load.clock import ArrivalClock
from shiny_sticky.client.load.connections import (
    Answer,
    ConnectionFailed,
    Headers,
    HttpConnection,
    WebSocket,
    connected,
)
from shiny_sticky.client.load.notes import Fault, Reply
from shiny_sticky.client.load.recording import REQUESTS, Event, Kind, filled_in
from shiny_sticky.client.load.replies import Replies
from shiny_sticky.client.load.script import Action, Script
from shiny_sticky.client.load.target import Target

# Connections that a browser has to one site, at most.
CONNECTIONS = 6

# Where Shiny Server and Connect put the worker of a page.
WORKER = re.compile(r'<base href="_w_([0-9a-z]+)/')


class Ended(Exception):
    """A visit cannot go on."""


class Notebook(Protocol):
    """Takes down what happens in visits."""

    def reply(self, reply: Reply) -> None:
        """An answer has come."""

    def fault(self, fault: Fault) -> None:
        """Something went wrong."""

    def waits(self, visit: Visit, since: float | None) -> None:
        """A visit waits for an answer since then, or no more."""


class Visit:
    """One visitor, once.

    Args:
        script: what to do.
        target: where.
        clock: of the loop.
        patience: seconds that are waited for an answer.
        notebook: takes down what happens.
    """

    def __init__(
        self, script: Script, target: Target, clock: ArrivalClock, patience: float, notebook: Notebook
    ) -> None:
        self._script = script
        self._target = target
        self._clock = clock
        self._patience = patience
        self._notebook = notebook
        self._values = {"ROBUST_ID": secrets.token_hex(9), "SOCKJSID": f"000/{secrets.token_hex(4)}"}
        self._cookies: dict[str, str] = {}
        self._idle: list[HttpConnection] = []
        self._all: list[HttpConnection | WebSocket] = []
        self._few = asyncio.Semaphore(CONNECTIONS)
        self._websocket: WebSocket | None = None
        self._replies = Replies()
        self._failing = set(script.failing)
        self._action = script.actions[0]
        self._lost = ""

    async def play(self) -> bool:
        """Do all that the recorded visitor did, and close the page.

        Returns:
            Whether it came to its end.
        """
        try:
            for action in self._script.actions:
                await asyncio.sleep(action.pause)
                self._action = action
                await self._do(action)
            return True
        except (Ended, ConnectionFailed) as error:
            self._fault(str(error))
            return False
        except TimeoutError:
            self._fault(f"no answer within {self._patience:g} s")
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections."""
        self._notebook.waits(self, None)
        while self._all:
            self._all.pop().close()

    async def _do(self, action: Action) -> None:
        if self._lost:
            raise Ended(self._lost)
        if action.kind in REQUESTS:
            await self._ask(action)
        elif action.kind is Kind.OPEN:
            await self._open(action)
        elif action.kind is Kind.SEND:
            self._send(action)
        if action.expects and action.kind is not Kind.CLOSE:
            await self._all_has_come(action)

    async def _ask(self, action: Action) -> None:
        """Make requests, side by side as far as a browser does."""
        began = time.monotonic()
        with self._waiting(began):
            async with asyncio.timeout(self._patience):
                answers = await asyncio.gather(*(self._answer(event) for event in action.events))
        self._reply(began, max(answer.came for answer in answers) - began)
        if action.expects:
            self._replies.sent(began, action.expects)

    async def _answer(self, event: Event) -> Answer:
        """Make one request, with what is known of the session by now."""
        target = self._target.path(self._filled_in(event.url))
        body = self._script.recording.body(event)
        keeps = event.kind in (Kind.PAGE, Kind.TOKEN)
        async with self._few:
            answer = await self._sent(event, target, body, keeps)
        if answer.status != event.status and {answer.status, event.status} != {200, 304}:
            raise Ended(f"status {answer.status} in place of {event.status} for {target}")
        self._remember(answer, event)
        return answer

    async def _sent(self, event: Event, target: str, body: bytes, keeps: bool) -> Answer:
        """Send a request on a connection that is there, or on a new one.

        The server may just be closing one that was there: a request that does no harm is then made once more.
        """
        method = "POST" if event.kind is Kind.POST else "GET"
        headers = self._headers(keeps)
        if body:
            headers.append(("Content-Type", "application/octet-stream"))
        while True:
            usable = [connection for connection in self._idle if connection.is_usable]
            connection = usable[-1] if usable else await connected(self._target.place, self._http)
            self._idle = usable[:-1]
            try:
                answer = await connection.ask(method, target, headers, body, keeps)
            except ConnectionFailed:
                if not usable or method == "POST":
                    raise
                continue
            self._idle.append(connection)
            return answer

    def _http(self) -> HttpConnection:
        connection = HttpConnection(self._clock)
        self._all.append(connection)
        return connection

    def _remember(self, answer: Answer, event: Event) -> None:
        """Keep cookies, and what later requests name."""
        self._cookies |= answer.cookies
        text = answer.body.decode(errors="replace")
        if event.kind is Kind.TOKEN:
            self._values["TOKEN"] = text
        elif found := WORKER.search(text):
            self._values["WORKER"] = found[1]

    async def _open(self, action: Action) -> None:
        url = self._target.websocket(self._filled_in(action.events[0].url))
        began = time.monotonic()
        self._replies.sent(began, action.expects)
        headers = [*self._headers(), ("Origin", self._target.origin)]

        def speaks() -> WebSocket:
            return WebSocket(self._clock, url, headers, self._came, self._closed)

        with self._waiting(began):
            async with asyncio.timeout(self._patience):
                self._websocket = await connected(self._target.place, speaks)
                self._all.append(self._websocket)
                await self._websocket.opened

    def _send(self, action: Action) -> None:
        assert self._websocket is not None
        text = self._filled_in(action.events[0].message)
        self._replies.sent(time.monotonic(), action.expects)
        self._websocket.send(text)

    async def _all_has_come(self, action: Action) -> None:
        began = time.monotonic()
        with self._waiting(began):
            try:
                seconds = await self._replies.all(self._patience)
            except TimeoutError:
                missing = ", ".join(self._replies.missing)
                self._fault(f"not within {self._patience:g} s: {missing}")
                return
        if action.kind not in REQUESTS:
            self._reply(began, seconds)

    def _came(self, text: str, at: float) -> None:
        """A message has come."""
        if found := messages.session_id(text):
            self._values["SESSION"] = found
        if begun := messages.upload(text):
            self._values["UPLOAD_JOB_ID"], self._values["UPLOAD_URL"] = begun
        for name in messages.errors(text) - self._failing:
            self._failing.add(name)  # said once a visit
            self._fault(f"output {name} fails")
        self._replies.came(messages.brings(text), at)

    def _closed(self, why: str) -> None:
        self._lost = self._lost or why
        self._replies.fail(Ended(why))

    def _headers(self, keeps: bool = False) -> Headers:
        headers = [
            ("Host", self._target.place.netloc),
            ("User-Agent", f"shiny-sticky-load/{__version__}"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity" if keeps else "gzip, deflate, br, zstd"),
            *self._target.headers,
        ]
        if self._cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())))
        return headers

    def _filled_in(self, text: str) -> str:
        try:
            return filled_in(text, self._values)
        except KeyError as error:
            raise Ended(f"the server has not said yet what ${{{error.args[0]}}} is") from None

    @contextmanager
    def _waiting(self, since: float) -> Iterator[None]:
        self._notebook.waits(self, since)
        yield
        self._notebook.waits(self, None)

    def _reply(self, at: float, seconds: float) -> None:
        self._notebook.reply(Reply(at, max(0.0, seconds), self._action.label))

    def _fault(self, why: str) -> None:
        self._notebook.fault(Fault(time.monotonic(), self._action.label, why))
