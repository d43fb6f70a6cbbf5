"""What visitors of a site lose while somebody deploys or kills: it is watched meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time

from shiny_sticky.client.shiny_protocol import NO_SUCH_ROUTE, NoSession, ShinySession
from shiny_sticky.client.traffic import Stopped
from shiny_sticky.client.verify.plan import ATTEMPTS_A_SECOND, PAGES_A_SECOND, SESSION_SECONDS, spoken
from shiny_sticky.client.verify.run import Run
from shiny_sticky.client.visitor import NotAnswered
from shiny_sticky.client.websocket import Refused

# Seconds within which a session is noticed to be cut that one of its requests did not reach.
CUT_SECONDS = 2

# Seconds that threads get to end.
END_SECONDS = 5


class Watch:
    """Open tabs that make requests, and a page that is loaded time and again.

    Args:
        run: whose sessions are watched.

    Attributes:
        cut: sessions that were, in the order in which they were.
        gaps: seconds that a tab had no session, for each that has got a new one.
        requests: of sessions, how many were made.
        lost: of these, how many did not reach their session.
        pages: how many were loaded.
        failed: of these, how many failed.
        outage: seconds of the longest time in which no page could be loaded.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.cut = 0
        self.gaps: list[float] = []
        self.requests = 0
        self.lost = 0
        self.pages = 0
        self.failed = 0
        self.outage = 0.0
        self._failing_since: float | None = None
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._tabs = [
            threading.Thread(target=self._keep, args=(number, session), daemon=True)
            for number, session in enumerate(run.sessions, 1)
        ]

    def go_on(self, seconds: float | None) -> None:
        """Watch for a time, or until Ctrl-C; then report what was lost."""
        began = time.monotonic()
        for tab in self._tabs:
            tab.start()
        until = "until Ctrl-C" if seconds is None else f"for {spoken(seconds)}"
        self.run.report.say(f"Watching {until}: deploy, restart, kill", "bold")
        with contextlib.suppress(KeyboardInterrupt), self.run.report.progress("Watching ...") as show:
            while seconds is None or time.monotonic() < began + seconds:
                self._load_page()
                show(f"{self._summary(time.monotonic() - began)}; Ctrl-C ends this")
                self._ends.wait(1 / PAGES_A_SECOND)
        self._end()
        self._report(time.monotonic() - began)

    def _end(self) -> None:
        self._ends.set()
        self.run.traffic.stop()
        deadline = time.monotonic() + END_SECONDS
        for tab in self._tabs:
            tab.join(max(0, deadline - time.monotonic()))

    # --- the page

    def _load_page(self) -> None:
        began = time.monotonic()
        try:
            status = self.run.visitor().ask(self.run.address).status
            problem = "" if status < 400 else f"answered with {status}"
        except NotAnswered as error:
            problem = str(error)
        self.pages += 1
        if not problem:
            self._failing_since = None
            return
        self.failed += 1
        self._failing_since = self._failing_since or began
        self.outage = max(self.outage, time.monotonic() - self._failing_since)
        self._say(f"the page failed: {problem}")

    # --- the tabs, each in a thread of its own

    def _keep(self, number: int, session: ShinySession) -> None:
        """Make a tab's requests, and begin a new session when it loses its own."""
        with contextlib.suppress(Stopped):
            while not self._ends.is_set():
                if not session.wait(SESSION_SECONDS):
                    self._ask(number, session)
                elif not self._ends.is_set():
                    session = self._replaced(number, session)

    def _ask(self, number: int, session: ShinySession) -> None:
        problem = ""
        try:
            status = session.visitor.ask(session.route_address()).status
            problem = "" if status == NO_SUCH_ROUTE or not self.run.tells_routes else str(status)
        except NotAnswered as error:
            problem = str(error)
        if problem and (session.wait(CUT_SECONDS) or self._ends.is_set()):
            return  # the session was cut meanwhile, which is counted for itself; or all that is open was just ended
        with self._lock:
            self.requests += 1
            self.lost += bool(problem)
        if problem:
            self._say(f"a request of session {number} did not reach it: {problem}")

    def _replaced(self, number: int, lost: ShinySession) -> ShinySession:
        """The session that follows one that was cut, once there is one."""
        began = time.monotonic()
        with self._lock:
            self.cut += 1
        where = f", in {lost.process}" if lost.process else ""
        self._say(f"session {number} was cut ({lost.code}{where})")
        while True:
            with contextlib.suppress(Refused, NoSession):
                session = ShinySession(lost.visitor, lost.page).open()
                break
            if self._ends.wait(1 / ATTEMPTS_A_SECOND):
                raise Stopped
        with self._lock:
            self.gaps.append(time.monotonic() - began)
        where = f", in {session.process}" if session.process else ""
        self._say(f"session {number} has a new one after {spoken(self.gaps[-1])}{where}")
        return session

    # --- what is said

    def _say(self, text: str) -> None:
        if not self._ends.is_set():
            self.run.report.say(f"{time.strftime('%H:%M:%S')} {text}", "bold yellow")

    def _summary(self, seconds: float) -> str:
        return (
            f"Watching for {spoken(round(seconds))}: {self.cut} sessions cut, {self.lost} of {self.requests} of "
            f"their requests lost, {self.failed} of {self.pages} pages failed"
        )

    def _report(self, seconds: float) -> None:
        time_said, tabs = spoken(round(seconds)), len(self._tabs)
        facts = {"seconds": round(seconds, 1), "sessions": tabs, "cut": self.cut, "begun_anew": len(self.gaps)}
        cut = f"{self.cut} {'were' if self.cut > 1 else 'was'}" if self.cut else "none was"
        says = f"Watched for {time_said}: of {tabs} sessions {cut} cut"
        if self.cut:
            anew = f", after {spoken(max(self.gaps))} at most" if self.gaps else ""
            says += f"; {len(self.gaps)} began anew{anew}"
            facts["longest_gap"] = round(max(self.gaps, default=0), 3)
        self.run.judged("watch_sessions", not self.cut, says, **facts)
        says = f"{self.lost} of {self.requests} requests of a session did not reach it"
        says = says if self.lost else f"All {self.requests} requests of a session reached it"
        self.run.judged("watch_requests", not self.lost, says, asked=self.requests, lost=self.lost)
        says = f"{self.failed} of {self.pages} page loads failed, for {spoken(self.outage)} at a stretch"
        says = says if self.failed else f"All {self.pages} page loads were answered"
        facts = {"loaded": self.pages, "failed": self.failed, "longest_outage": round(self.outage, 3)}
        self.run.judged("watch_pages", not self.failed, says, **facts)
