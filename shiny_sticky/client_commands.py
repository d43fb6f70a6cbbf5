"""The commands that use a site from outside, and need nothing of its settings."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from shiny_sticky.client.address import Address, NoAddress
from shiny_sticky.command_help import Command

# A time, and the seconds of its units.
DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time: 30 (seconds), 30s, 5m, 1h."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Take a number with or without a unit; gives seconds."""
        found = DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value} is no time: 30 (seconds), 30s, 5m, 1h.", param, ctx)
        return float(found[1]) * UNITS[found[2] or "s"]


class PageAddress(click.ParamType):  # type: ignore[type-arg]
    """The address of a page."""

    name = "url"

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Take an address of http or https; http need not be said."""
        try:
            return value if isinstance(value, Address) else Address.parse(value)
        except NoAddress as error:
            self.fail(f"{error}.", param, ctx)


@click.command(cls=Command)
@click.option(
    "--sessions", type=click.IntRange(1, 200), default=8, show_default=True, help="Visitors with a session each."
)
@click.option(
    "--requests", type=click.IntRange(1, 50), default=3, show_default=True, help="Of each session, in each way."
)
@click.option(
    "--patience", type=Duration(), default="10s", show_default=True, help="How long a websocket is left silent."
)
@click.option("--watch", is_flag=True, help="Go on, and count what is lost; Ctrl-C ends that.")
@click.option("--for", "watch_seconds", type=Duration(), help="How long to watch. [default: until Ctrl-C]")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Goes with each request.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before another machine is.")
@click.argument("url", type=PageAddress())
def verify(
    url: Address, headers: tuple[str, ...], as_json: bool, yes: bool, watch_seconds: float | None, **options: Any
) -> None:
    """Check from outside whether a site is sticky, this program's or anybody's.

    Exit code: 0 if all is well, 1 if something was found, 2 if the site could not be asked.
    """
    from shiny_sticky.client.verify import command as verification  # no launcher has to load TLS and websockets
    from shiny_sticky.client.verify.plan import Plan

    plan = Plan(watch_seconds=watch_seconds, **options)
    if watch_seconds is not None and not plan.watch:
        raise click.UsageError("--for says how long to --watch.")
    verification.announce(url, plan, yes)
    run = verification.verify(url, plan, verification.read_headers(headers), is_silent=as_json)
    if as_json:
        click.echo(json.dumps(verification.as_dict(run), indent=2))
    raise click.exceptions.Exit(int(run.report.is_bad))
