"""What the checks of one run share: the page, who comes to it, and what is known of who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from shiny_sticky.client.address import Address
from shiny_sticky.client.shiny_protocol import ShinySession
from shiny_sticky.client.traffic import Traffic
from shiny_sticky.client.verify import fronts
from shiny_sticky.client.verify.findings import Finding, Report
from shiny_sticky.client.verify.plan import Plan
from shiny_sticky.client.visitor import Reply, Visitor
from shiny_sticky.errors import StickyError

# How many things are done at a time.
AT_A_TIME = 8

One = TypeVar("One")
Got = TypeVar("Got")


class CannotAsk(StickyError):
    """The site cannot be asked: nothing answers, or no page of Shiny's (exit code 2)."""

    exit_code = 2


@dataclass
class Run:
    """One run of the command.

    Attributes:
        plan: what is asked for.
        traffic: counts what is sent.
        headers: that each request has.
        report: takes what is found.
        address: of the page, as it was given; then where that led.
        first: the answer to the first load of the page.
        sessions: those that are open, of a visitor each.
        tells_routes: whether the answer to a dynamic route tells if it has reached its session.
        cookie_headers: every ``Set-Cookie`` that came with a page or a handshake, of visitors without any.
    """

    plan: Plan
    traffic: Traffic
    headers: dict[str, str]
    report: Report
    address: Address
    first: Reply | None = None
    sessions: list[ShinySession] = field(default_factory=list)
    cookie_headers: list[str] = field(default_factory=list)
    tells_routes: bool = True

    @property
    def page(self) -> Reply:
        """The answer to the first load of the page."""
        assert self.first is not None, "the page was not loaded yet"
        return self.first

    @property
    def fronts(self) -> list[str]:
        """The programs in front, as far as they say so: shiny-sticky may stand behind another one."""
        names = [header.partition("=")[0].strip() for header in self.cookie_headers]
        ours = [fronts.SHINY_STICKY] * any(session.process for session in self.sessions)
        return [*ours, fronts.front_of(self.page.headers, names)]

    def visitor(self) -> Visitor:
        """A visitor who comes for the first time."""
        return Visitor(self.traffic, self.headers)

    def each(self, do: Callable[[One], Got], things: Iterable[One]) -> list[Got]:
        """Do something with each of several things, some at a time; give what came of each, in their order.

        If that is stopped, so is all that is sent: nothing is left waiting for an answer.
        """
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            try:
                return list(pool.map(do, things))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.traffic.stop()
                raise

    def good(self, check: str, says: str, **facts: Any) -> None:
        """Report that a check has found nothing wrong."""
        self.report.add(Finding(check, "good", says, facts=facts))

    def bad(self, check: str, says: str, **facts: Any) -> None:
        """Report what a check has found, with what to do about it."""
        self.report.add(Finding(check, "bad", says, fronts.advice(check, self.fronts), facts))

    def none(self, check: str, says: str, **facts: Any) -> None:
        """Report that there is nothing to check, and why."""
        self.report.add(Finding(check, "none", says, facts=facts))

    def judged(self, check: str, is_good: bool, says: str, **facts: Any) -> None:
        """Report what a check has found."""
        (self.good if is_good else self.bad)(check, says, **facts)
