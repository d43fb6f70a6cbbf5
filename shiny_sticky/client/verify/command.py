"""The command ``verify``: what it asks in which order, and what it gives back."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable
from typing import Any

import click

from shiny_sticky import program
from shiny_sticky.client.address import Address
from shiny_sticky.client.shiny_protocol import is_page
from shiny_sticky.client.traffic import Stopped, Traffic
from shiny_sticky.client.verify.connection import SilentTab, check_origin, check_reconnect
from shiny_sticky.client.verify.cookies import check_cookies
from shiny_sticky.client.verify.findings import Report, printable
from shiny_sticky.client.verify.page import check_page
from shiny_sticky.client.verify.plan import Plan, spoken
from shiny_sticky.client.verify.run import CannotAsk, Run
from shiny_sticky.client.verify.stickiness import Stickiness
from shiny_sticky.client.verify.uploads import check_uploads
from shiny_sticky.client.verify.watch import Watch
from shiny_sticky.client.visitor import NotAnswered

# What cannot be checked where no session begins.
OF_SESSIONS = ("with_cookies", "without_cookies", "others_cookies", "tabs", "uploads", "reconnect", "idle")


def verify(address: Address, plan: Plan, headers: dict[str, str], is_silent: bool) -> Run:
    """Ask a site, and print what is found.

    Args:
        address: of its page.
        plan: what is asked.
        headers: that each request has.
        is_silent: print nothing; :func:`as_dict` has it all.

    Raises:
        CannotAsk: there is no page of Shiny's.
        KeyboardInterrupt: it was stopped before it was done.
    """
    traffic = Traffic(plan.most_requests(), plan.most_websockets())
    run = Run(plan, traffic, headers, Report(is_silent), address)
    try:
        _load_page(run)
        _check(run)
        if plan.watch and run.sessions:
            Watch(run).go_on(plan.watch_seconds)
    except KeyboardInterrupt:
        run.report.say(f"Stopped after {traffic.requests} requests; what was not checked is not said")
        raise
    except Stopped:
        raise CannotAsk(f"{address} wants more requests than were announced; none of them was made") from None
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            traffic.stop()
    return run


def read_headers(lines: Iterable[str]) -> dict[str, str]:
    """Headers that are given as ``Name: value``.

    Raises:
        CannotAsk: one is not.
    """
    found = {}
    for line in lines:
        name, colon, text = line.partition(":")
        if (
            not colon
            or not re.fullmatch(r"[!#-'*+.^-~0-9A-Z-]+", name)
            or not text.isascii()
            or not text.strip().isprintable()
        ):
            raise CannotAsk(f"{line} is no header: those are like 'Cookie: name=value'")
        found[name] = text.strip()
    return found


def announce(address: Address, plan: Plan, is_agreed: bool) -> None:
    """Say how much is going to be asked, and ask before that goes to another machine.

    Raises:
        CannotAsk: it goes to another machine, and nobody is there to agree.
        click.Abort: somebody did not agree.
    """
    click.echo(
        f"{address} is asked: {plan.announced()}; a websocket is silent for {spoken(plan.patience)}", err=True
    )
    if is_agreed or address.is_this_machine():
        return
    if not sys.stdin.isatty():
        raise CannotAsk(
            f"{address.host} is not this machine. If that may be asked so much: {program.again()} --yes"
        )
    click.confirm(f"{address.host} is not this machine. May it be asked so much?", abort=True, err=True)


def as_dict(run: Run) -> dict[str, Any]:
    """All that was found, for programs."""
    return {
        "url": str(run.address),
        "front": run.fronts[0],
        "result": "bad" if run.report.is_bad else "good",
        "requests": run.traffic.requests,
        "websockets": run.traffic.websockets,
        "checks": run.report.as_dicts(),
    }


def _load_page(run: Run) -> None:
    """Load the page for the first time.

    Raises:
        CannotAsk: it is none that can be asked.
    """
    given = run.address
    try:
        page = run.visitor().open_page(given)
    except NotAnswered as error:
        raise CannotAsk(f"{given} cannot be asked: {error}") from None
    run.first, run.address = page, page.address
    if page.status in (401, 403) or page.headers.get("Location"):
        where = page.headers.get("Location")
        wants = f"leads to {printable(where)}" if where else f"answers with {page.status}"
        raise CannotAsk(
            f"{given} {wants}. If it wants to be signed in to, give it what a browser has then: "
            f'{program.name()} verify --header "Cookie: name=value" {given}'
        )
    if page.status >= 400:
        raise CannotAsk(f"{page.address} answers with {page.status}")
    if not is_page(page.text):
        raise CannotAsk(
            f"{page.address} is no page of Shiny's: it names no shiny.js. Is there a path behind the host?"
        )


def _check(run: Run) -> None:
    """Make all checks, one after the other, beside a tab that is silent meanwhile."""
    silent = SilentTab(run)
    run.cookie_headers += run.page.headers.get_all("Set-Cookie") or []
    passes = silent.open()
    if passes:
        Stickiness(run).check()
    check_cookies(run)
    check_page(run)
    if not passes:
        for check in OF_SESSIONS:
            run.none(check, f"No websocket, no session: {check.replace('_', ' ')} cannot be checked")
        return
    if run.sessions:
        check_uploads(run)
    check_origin(run)
    check_reconnect(run)
    silent.wait()
