"""The commands `load record`, `load play` and `load report`, which tell how many users a site holds.

What they do is imported when it is asked for: other commands need not wait for a server and its protocols.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from shiny_sticky import program
from shiny_sticky.client.load import target
from shiny_sticky.command_help import CommandGroup
from shiny_sticky.command_words import SettingsFile
from shiny_sticky.errors import StickyError
from shiny_sticky.output import Output
from shiny_sticky.settings.source import run_dir_of
from shiny_sticky.supervision import control

headers_option = click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header of each request, such as a cookie.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before a site that is not on this machine.")


class Ramp(click.ParamType):  # type: ignore[type-arg]
    """A range of users, such as 10..500."""

    name = "from..to"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Take two numbers, of which the second is no smaller."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)\.\.(\d+)", value)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            self.fail(f"{value} is no range of users: say 10..500", param, ctx)
        return int(match[1]), int(match[2])


@click.group(cls=CommandGroup)
def load() -> None:
    """Find out how many users a site holds.

    A visit is recorded once, played by many at once, and what they found is reported.
    """


@load.command()
@click.argument("url")
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), default=Path("visit.jsonl"), show_default=True
)
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=0, help="Of the proxy. [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Say the address, and open no browser.")
@headers_option
@yes_option
def record(url: str, file: Path, port: int, no_browser: bool, headers: tuple[str, ...], yes: bool) -> None:
    """Record a visit, through a proxy on this machine, until its page is closed."""
    from shiny_sticky.client.load import recording_proxy

    site = _asked_for(url, headers, yes, "record a visit of")
    recording_proxy.record(site, file, port, not no_browser, Output([]))


@load.command()
@click.argument("recording", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("-u", "--users", type=click.IntRange(min=1), help="How many at once. [default: 1]")
@click.option("--ramp", type=Ramp(), help="More and more, until the limit is broken.")
@click.option(
    "--step",
    type=click.IntRange(1, 1000),
    default=25,
    show_default=True,
    help="Of a ramp: how many more each, in %.",
)
@click.option(
    "--p95",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="The limit: 95 of 100 answers within, ms.",
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=1),
    help="Seconds with all users there. [default: as long as the visit, 10 at least]",
)
@click.option(
    "--patience", type=click.FloatRange(min=1), default=30, show_default=True, help="Seconds for an answer."
)
@click.option("--processes", type=click.IntRange(min=1), help="That play. [default: one for 100 users, one a core]")
@click.option("--site", type=SettingsFile(), help="Whose status is noted. [default: the one here, if it is at URL]")
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), default=Path("load.jsonl"), show_default=True
)
@headers_option
@yes_option
def play(
    recording: Path,
    url: str,
    users: int | None,
    ramp: tuple[int, int] | None,
    step: int,
    p95: int,
    seconds: float | None,
    patience: float,
    processes: int | None,
    site: Path | None,
    file: Path,
    headers: tuple[str, ...],
    yes: bool,
) -> None:
    """Play a recorded visit by many users at once, and say whether answers come in time."""
    from shiny_sticky.client.load import playing

    if users is not None and ramp is not None:
        raise click.UsageError("--users is one number, --ramp a range; say one of them.")
    levels = playing.ramp(*ramp, step / 100) if ramp else (users or 1,)
    plan = playing.Plan(levels, seconds, p95 / 1000, processes, patience)
    where = _asked_for(url, headers, yes, f"send up to {max(levels)} users to")
    output = Output([])
    try:
        answer = asyncio.run(playing.play(recording, where, plan, file, _status(site, where), output))
    except KeyboardInterrupt:
        output.event(f"Ended; what was found so far is in {file}")
        raise
    output.event(answer)
    output.event(f"See it: {program.name()} load report {file}", style="")


@load.command("report")
@click.argument("results", type=click.Path(path_type=Path), default=Path("load.jsonl"))
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="[default: as the results, in .html]")
def write_report(results: Path, file: Path | None) -> None:
    """Write what was found as one HTML file, which needs nothing else."""
    from shiny_sticky.client.load import report

    file = file or results.with_suffix(".html")
    click.echo(report.write(results, file))
    click.echo(f"{file} is written")


def _asked_for(url: str, headers: tuple[str, ...], yes: bool, what: str) -> target.Target:
    """The site of an address; whoever gave one of another machine is asked whether it is meant."""
    site = target.target_of(url, headers)
    if not yes and not target.is_this_machine(site):
        click.confirm(
            f"{site.place.hostname} is not this machine. Really {what} {site.url} (--yes does not ask)?", abort=True
        )
    return site


def _status(config: Path | None, site: target.Target) -> Callable[[], dict[str, Any]] | None:
    """What gives the status of the site, if it is one that runs from here."""
    try:
        run_dir = run_dir_of(config, Path.cwd())
        found = control.call(run_dir, "GET", "/status")
    except StickyError:
        if config is not None:
            raise
        return None
    ports = {address.rpartition(":")[2] for address in found["listen"]}
    if config is None and (str(site.place.port or 80) not in ports or not target.is_this_machine(site)):
        return None
    return lambda: control.call(run_dir, "GET", "/status")
