"""The resumable sessions of a worker, and what becomes of those that have lost their connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any

from ..draining import WorkerState
from ..notices import Notice
from . import wire
from .connection import Connection, say
from .session import Limits, Session

SWEEP_SECONDS = 0.5

# Seconds without a word from a page, after which it is asked, and in all, after which its connection is lost.
ASK_SECONDS = 7.0
SILENT_SECONDS = 14.0

# What an app is told at the end of a session whose page is lost, and of its worker: RFC 6455, section 7.4.1.
ABNORMAL = 1006
RESTARTING = 1012

# Ends after which a page may come for another session in place of the one that it had.
COMES_BACK = (ABNORMAL, RESTARTING)


class Sessions:
    """The sessions of a worker that can be resumed.

    Args:
        limits: of each.
        most: that may be without a connection at a time; the one that has waited longest makes room.
        state: is told how many wait, and tells when the server is about to close all connections; has what pages
            are told.
    """

    def __init__(self, limits: Limits, most: int, state: WorkerState) -> None:
        self._limits = limits
        self._most = most
        self._sessions: dict[str, Session] = {}
        self._suspended: dict[str, Session] = {}  # the one that has waited longest comes first
        self._closed_by_app: deque[str] = deque(maxlen=most)  # ids of those whose pages may not have heard of it
        self._closing = False
        self._sweeping: asyncio.Task[None] | None = None
        self._acts: set[asyncio.Task[object]] = set()
        self._state = state
        self._notices = state.notices
        self._notices.on_notice = self._notify_all
        state.before_exit.append(self._end_all)

    def new(self, user: Iterable[bytes]) -> Session:
        """Make a session.

        Args:
            user: what its page's request says of who asks.
        """
        session = Session(user, self._limits, self._note)
        self._sessions[session.id] = session
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        return session

    def find(self, name: str) -> Session | None:
        """The session of an id, with or without a connection; None if there is none."""
        return self._sessions.get(name)

    def was_closed_by_app(self, name: str) -> bool:
        """Whether there was a session of an id which the app has closed, not long ago."""
        return name in self._closed_by_app

    async def tell_notices(self, connection: Connection) -> None:
        """Tell a page that has come, or is back, of all that stands.

        Args:
            connection: that carries its session.
        """
        for notice in self._notices.standing():
            await connection.tell(wire.encode(wire.NOTICE, **notice.fields()))

    def _note(self, session: Session) -> None:
        """A session has lost its connection, has one again, or is over."""
        if session.ended is not None:
            self._sessions.pop(session.id, None)
            if session.closed_by_app:
                self._closed_by_app.append(session.id)
        if session.suspended_at is None:
            self._suspended.pop(session.id, None)
        elif self._closing or not self._limits.timeout:
            session.end(RESTARTING if self._closing else ABNORMAL)
        else:
            self._suspended[session.id] = session
            if len(self._suspended) > self._most:
                self._give_up(next(iter(self._suspended.values())), f"more than {self._most} wait")
        self._count()

    def _count(self) -> None:
        """Let it be known how many wait."""
        if self._state.suspended != len(self._suspended):
            self._state.suspended = len(self._suspended)
            self._state.on_change()

    def _give_up(self, session: Session, why: str) -> None:
        say(f"A session that has lost its page is over: {why}.")
        session.end(ABNORMAL)

    def _notify_all(self, notice: Notice) -> None:
        """Tell a notice to all pages that are there; the others are told when they come back."""
        for session in self._sessions.values():
            if session.connection is not None:
                self._begin(session.connection.tell(wire.encode(wire.NOTICE, **notice.fields())))

    def _end_all(self) -> None:
        """The worker ends, and the server closes all connections: nobody can resume a session."""
        self._closing = True
        for session in list(self._suspended.values()):
            session.end(RESTARTING)

    async def _sweep(self) -> None:
        """Do now and then what is due, until there is no session."""
        loop = asyncio.get_running_loop()
        while self._sessions:
            due = loop.time() + SWEEP_SECONDS
            await asyncio.sleep(SWEEP_SECONDS)
            late = loop.time() - due
            if late > SWEEP_SECONDS:
                self._forgive(late)
            else:
                self._look_after_all(loop.time())
        self._sweeping = None

    def _forgive(self, late: float) -> None:
        """The app has kept the event loop for some seconds, in which no page could be heard."""
        now = asyncio.get_running_loop().time()
        for session in self._sessions.values():
            session.heard_at = min(session.heard_at + late, now)

    def _look_after_all(self, now: float) -> None:
        for session in list(self._suspended.values()):
            assert session.suspended_at is not None
            if now - session.suspended_at >= session.patience:
                self._give_up(session, f"it was away for {session.patience:g} s")
        for session in list(self._sessions.values()):
            if session.owes:
                self._begin(session.acknowledge())
            silent = now - session.heard_at
            if silent > SILENT_SECONDS:
                self._begin(session.cut())
            elif silent > ASK_SECONDS and session.asked_at < session.heard_at:
                self._begin(session.ask())

    def _begin(self, act: Coroutine[Any, Any, object]) -> None:
        """Let it wait for its session's page alone."""
        task: asyncio.Task[object] = asyncio.create_task(act)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)
