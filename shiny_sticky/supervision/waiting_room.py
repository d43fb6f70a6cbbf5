"""The waiting room of an app that is full: keeps the line, and tells workers whether newcomers have to join it.

Pages that wait ask for their place on a socket that only nginx connects to. Who asks is nobody in particular: what
they send is a ticket of ours or it is nothing, and no name, path or address is made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import re
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from shiny_sticky import private_files
from shiny_sticky.concurrency import comes_in_time
from shiny_sticky.supervision.answers import http_answer
from shiny_sticky.supervision.incarnation import Incarnation
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.site import Site
from shiny_sticky.supervision.waiting_line import MOST, TooMany, WaitingLine
from shiny_sticky.worker import tokens
from shiny_sticky.worker.protocol import Gate

# What a room's socket is called, behind the app's name and a dot; longer than what an incarnation's ends in.
SOCKET = "queue"

# The file with the key by which a site's tickets are known, after a restart of the launcher, too; and its bytes.
KEY_FILE, KEY_BYTES = "waiting.key", 32

# Seconds between two looks at who has not asked again, and between two words to a worker that is told nothing new.
LOOK_SECONDS, WORD_SECONDS = 1.0, 3.0

# Seconds for which nobody must have waited, before that is said: who comes and goes is not worth a line each time.
OVER_SECONDS = 10.0

# Seconds in which nginx sends the head of a request, which it has in full before it connects; and bytes of one.
HEAD_SECONDS, LONGEST_HEAD = 5, 32 * 1024

ASKED = re.compile(rb"GET [^? ]+\?ticket=([a-z0-9.]{1,160}) HTTP/1\.[01]\r\n")


class WaitingRoom:
    """The waiting room of an app with max_sessions.

    Args:
        site: what runs.
        app_name: whose.
        key: that of all apps.
    """

    def __init__(self, site: Site, app_name: str, key: bytes) -> None:
        self._site = site
        self._app_name = app_name
        self._key = tokens.key_of(app_name, key)
        self._line = WaitingLine(self._key)
        self._news = asyncio.Event()
        self._told: dict[Incarnation, tuple[bool, float]] = {}  # whether the gate is closed, and when that was said
        self._admitted: dict[Incarnation, int] = {}  # pages served to those whose turn it was
        self._full_since: float | None = None
        self._waited_at = 0.0
        self._most = 0

    @property
    def _is_wanted(self) -> bool:
        app = self._site.settings.apps.get(self._app_name)
        return app is not None and app.max_sessions is not None

    @property
    def _free(self) -> int:
        """Places that nobody has; as many as one likes where no worker has come up that has a limit."""
        free = self._site.pool(self._app_name).free
        return MOST if free is None else free

    @property
    def _to_come(self) -> int:
        """Workers that are started when somebody comes, where each session has one; handshakes wait for that."""
        app = self._site.settings.apps[self._app_name]
        if not app.isolated or self._app_name in self._site.short_of_memory:
            return 0
        return app.workers.max - len(self._site.slots_of(self._app_name))

    async def run(self) -> None:
        """Keep the room until cancelled, or until the settings limit the app's sessions no more."""
        pool = self._site.pool(self._app_name)
        listener = open_socket(self._site.run_dir, self._app_name)
        server = await asyncio.start_unix_server(self._answer, sock=listener, limit=LONGEST_HEAD)
        pool.on_news = self._news.set
        try:
            while self._is_wanted:
                self._look()
                await comes_in_time(self._news.wait, LOOK_SECONDS)
                self._news.clear()
            self._tell(self._processes(), closed=False)
        finally:
            pool.on_news = lambda: None
            server.close()
            remove_socket(self._site.run_dir, self._app_name)
            self._site.waiting.pop(self._app_name, None)

    def _processes(self) -> list[Incarnation]:
        """Those that newcomers come to."""
        return [slot.current for slot in self._site.slots_of(self._app_name) if slot.current is not None]

    def _look(self) -> None:
        """Note who has come, left or waits; and let the workers know what follows from that."""
        processes = self._processes()
        self._line.forget()
        self._line.come(self._newly_admitted(processes))
        waiting = self._line.waiting
        if waiting != self._site.waiting.get(self._app_name, 0):
            self._site.waiting[self._app_name] = waiting
            self._site.news_of(self._app_name).set()  # more workers may be needed
        self._say(waiting)
        self._tell(processes, closed=waiting > 0 or self._free + self._to_come <= self._line.on_their_way)

    def _newly_admitted(self, processes: Iterable[Incarnation]) -> int:
        """How many of those whose turn it was have been served their page since the last look."""
        before, self._admitted = self._admitted, {process: process.admitted for process in processes}
        return sum(max(0, now - before.get(process, 0)) for process, now in self._admitted.items())

    def _tell(self, processes: list[Incarnation], *, closed: bool) -> None:
        """Tell those that do not know, or may forget it soon."""
        now = time.monotonic()
        told, self._told = self._told, {}
        for process in processes:
            last, at = told.get(process, (None, 0.0))
            if last is not closed or now >= at + WORD_SECONDS:
                process.tell(Gate(closed, self._key.hex()))
                at = now
            self._told[process] = (closed, at)

    def _say(self, waiting: int) -> None:
        """Say when visitors begin to wait, and when that is over."""
        now = time.monotonic()
        self._most = max(self._most, waiting)
        if waiting:
            self._waited_at = now
        if waiting and self._full_since is None:
            self._full_since = now
            self._site.output.event(f"App {self._app_name} is full (max_sessions): visitors wait for their turn")
        elif self._full_since is not None and now >= self._waited_at + OVER_SECONDS:
            seconds = self._waited_at - self._full_since
            self._site.output.event(
                f"Nobody waits for App {self._app_name} any more; visitors did for {seconds:.0f} s, "
                f"{self._most} at a time"
            )
            self._full_since, self._most = None, 0

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, whatever becomes of it."""
        broken = (OSError, EOFError, ValueError, asyncio.LimitOverrunError, TimeoutError)
        with contextlib.closing(writer), contextlib.suppress(*broken):
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            asked = ASKED.match(head)
            answer = self._line.ask(asked[1].decode() if asked else "", self._free)
            self._news.set()
            body = json.dumps(dataclasses.asdict(answer)).encode()
            if isinstance(answer, TooMany):
                writer.write(http_answer("503 Service Unavailable", "application/json", body, answer.again))
            else:
                writer.write(http_answer("200 OK", "application/json", body))
            await writer.drain()


class WaitingRooms:
    """The waiting rooms of all apps with max_sessions.

    Args:
        site: what runs.
        keep: runs a task, which may take for ever, in the background.
    """

    def __init__(self, site: Site, keep: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]) -> None:
        self._site = site
        self._keep = keep
        self._key = b""
        self._rooms: dict[str, WaitingRoom] = {}

    def follow_settings(self) -> None:
        """Have a room for each app whose sessions the settings limit, from now on; the others end by themselves."""
        if not self._key:
            self._key = read_key(self._site.run_dir.path)
            for file in self._site.run_dir.path.glob(f"*.{SOCKET}.sock"):  # of a launcher that was killed
                remove_socket(self._site.run_dir, file.name.partition(".")[0])
        for name, app in self._site.settings.apps.items():
            if app.max_sessions is not None and name not in self._rooms:
                self._rooms[name] = WaitingRoom(self._site, name, self._key)
                self._keep(functools.partial(self._run, name))

    async def _run(self, name: str) -> None:
        await self._rooms[name].run()
        del self._rooms[name]


def open_socket(run_dir: RunDir, app: str) -> socket.socket:
    """Open the socket of an app's waiting room, to nginx alone; gives it.

    Raises:
        OSError: something else stands in its place.
    """
    remove_socket(run_dir, app)
    return run_dir.bind(f"{app}.{SOCKET}")


def remove_socket(run_dir: RunDir, app: str) -> None:
    """Remove the socket of an app's waiting room, if there is one."""
    with contextlib.suppress(OSError):
        (run_dir.path / f"{app}.{SOCKET}.sock").unlink()


def read_key(folder: Path) -> bytes:
    """The key by which tickets are known: the one before, as there may be people who wait; else a new one.

    Args:
        folder: run_dir. On a full disk, places end with the launcher.
    """
    file = folder / KEY_FILE
    key = private_files.read(file, KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        with contextlib.suppress(OSError):
            private_files.write(file, key)
    return key
