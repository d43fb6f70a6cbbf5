"""Checks of what a session's requests reach: with its cookies, without, with somebody else's, and from two tabs."""

from __future__ import annotations

import collections
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from shiny_sticky.client.shiny_protocol import (
    FILE,
    NO_SUCH_ROUTE,
    OF_ITS_PROCESS,
    ROUTE,
    NoSession,
    ShinySession,
)
from shiny_sticky.client.verify.run import Run
from shiny_sticky.client.visitor import NotAnswered, Visitor
from shiny_sticky.client.websocket import Refused

SENT_AS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Way:
    """A way of making a session's requests.

    Attributes:
        check: its name.
        how: behind "requests of a session", in a sentence.
        visitor: who makes them; None leaves a session out.
    """

    check: str
    how: str
    visitor: Callable[[ShinySession], Visitor | None]


class Stickiness:
    """The checks of one run.

    Args:
        run: whose checks these are.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def check(self) -> None:
        """Open sessions, and make their requests in each way."""
        run = self.run
        with run.report.progress(f"Opening {run.plan.sessions} sessions ..."):
            found = run.each(self._opened, [run.visitor() for _ in range(run.plan.sessions)])
            run.sessions = [session for session in found if isinstance(session, ShinySession)]
            self._report_sessions([str(each) for each in found if not isinstance(each, ShinySession)])
        if not run.sessions:
            return
        self._report_processes()
        self.run.tells_routes = self._made_up_one_is_unknown()
        self._ask(Way("with_cookies", "with its cookies", lambda session: session.visitor), run.sessions)
        self._check_other_cookies()
        self._check_tabs()

    def _opened(self, visitor: Visitor) -> ShinySession | Exception:
        """A session of a visitor; or why there is none."""
        try:
            reply = visitor.ask(self.run.address)
            self.run.cookie_headers += reply.headers.get_all("Set-Cookie") or []
            return ShinySession(visitor, self.run.address).open()
        except (Refused, NoSession, NotAnswered) as error:
            return error

    def _report_sessions(self, problems: list[str]) -> None:
        number = self.run.plan.sessions
        facts = {"asked": number, "open": number - len(problems), "problems": counted(problems)}
        if problems:
            self.run.bad(
                "sessions", f"{len(problems)} of {number} sessions do not begin: {told(problems)}", **facts
            )
        else:
            self.run.good("sessions", f"{number} visitors have {number} sessions open", **facts)

    def _report_processes(self) -> None:
        """Look over how many processes the sessions are spread."""
        processes = collections.Counter(session.process for session in self.run.sessions)
        if "" in processes:
            self.run.none(
                "processes",
                "Nothing tells processes apart from outside; if there is only one, what follows proves nothing",
            )
            return
        spread = ", ".join(f"{name} {count}" for name, count in sorted(processes.items()))
        says = f"{len(self.run.sessions)} sessions are in {len(processes)} processes: {spread}"
        if len(processes) > 1:
            self.run.good("processes", says, processes=dict(processes))
        else:
            self.run.none(
                "processes", f"All sessions are in one process, {spread.split()[0]}", processes=dict(processes)
            )

    def _made_up_one_is_unknown(self) -> bool:
        """Whether a session that nobody has is answered otherwise than one that is there."""
        made_up = self.run.address.relative(f"session/{secrets.token_hex(32)}/dynamic_route/{ROUTE}")
        try:
            return self.run.visitor().ask(made_up).status != NO_SUCH_ROUTE
        except NotAnswered:
            return True

    def _check_other_cookies(self) -> None:
        """Make the requests without cookies, and with those of somebody else."""
        run = self.run
        if not any(session.visitor.cookies for session in run.sessions):
            run.none("without_cookies", "Without its cookies: the site sets none")
            run.none("others_cookies", "With another visitor's cookies: the site sets none")
            return
        self._ask(
            Way("without_cookies", "without cookies", lambda session: session.visitor.blocking_cookies()),
            run.sessions,
        )
        if len({frozenset(session.visitor.cookies.items()) for session in run.sessions}) == 1:
            run.none("others_cookies", "With another visitor's cookies: all have the same")
            return
        self._ask(Way("others_cookies", "with another visitor's cookies", self._borrower), run.sessions)

    def _borrower(self, session: ShinySession) -> Visitor | None:
        """The session's visitor with the cookies of the next one who has others."""
        place = self.run.sessions.index(session)
        for other in [*self.run.sessions[place + 1 :], *self.run.sessions[:place]]:
            if other.visitor.cookies != session.visitor.cookies:
                return session.visitor.with_cookies_of(other.visitor)
        return None

    def _check_tabs(self) -> None:
        """Let visitors open a second tab, and make the requests of both."""
        first = self.run.sessions[: self.run.plan.tabs]
        second = self.run.each(self._opened, [session.visitor for session in first])
        tabs = [tab for tab in second if isinstance(tab, ShinySession)]
        if not tabs:
            self.run.bad("tabs", f"A second tab begins no session: {told([str(each) for each in second])}")
            return
        self._ask(Way("tabs", "from two tabs of one browser", lambda session: session.visitor), [*first, *tabs])
        for tab in tabs:
            tab.close()

    def _ask(self, way: Way, sessions: list[ShinySession]) -> None:
        """Make each session's requests in a way, and report how many reached it."""
        asked = [(session, number) for session in sessions for number in range(self.run.plan.requests)]
        with self.run.report.progress(f"Asking for sessions {way.how} ..."):
            found = self.run.each(lambda each: self._problem(way, *each), asked)
        outcomes = [problem for problem in found if problem is not None]
        lost = [problem for problem in outcomes if problem]
        all_said = f"{len(outcomes) - len(lost)} of {len(outcomes)} requests of a session {way.how} reach it"
        facts = {"asked": len(outcomes), "lost": len(lost), "problems": counted(lost)}
        says = f"{all_said} (else {told(lost)})" if lost else all_said
        self.run.judged(way.check, not lost, says, **facts)

    def _problem(self, way: Way, session: ShinySession, number: int) -> str | None:
        """Make one request of a session; empty if it reached it, None if it was not made."""
        visitor = way.visitor(session)
        if visitor is None:
            return None
        try:
            if number == 0 or not self.run.tells_routes:
                reply = visitor.ask(session.upload_address(), "POST", FILE, SENT_AS)
                return "" if reply.status == OF_ITS_PROCESS else str(reply.status)
            reply = visitor.ask(session.route_address())
            return "" if reply.status == NO_SUCH_ROUTE else str(reply.status)
        except (NotAnswered, NoSession) as error:
            return str(error)


def counted(problems: list[str]) -> dict[str, int]:
    """How often each problem came."""
    return dict(collections.Counter(problems))


def told(problems: list[str]) -> str:
    """The most frequent problems, in a few words."""
    return ", ".join(f"{count} × {problem}" for problem, count in collections.Counter(problems).most_common(3))
