"""The answer, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from shiny_sticky.client.load.judging import BUSY, Level, first_limit, shown
from shiny_sticky.client.load.results import Run


def verdict(run: Run, levels: Sequence[Level]) -> str:
    """Say how many users the site holds.

    Args:
        run: what was played.
        levels: that were judged, in their order; none after the first that was not kept.
    """
    if not levels:
        return "It ended before anything could be told."
    last = levels[-1]
    kept = [level.users for level in levels if not level.broken and not level.unsure]
    with_workers = f"With {_counted(len(last.workers), 'worker')} " if last.workers else ""
    site = "this machine" if run.here else run.url
    sentence = f"{with_workers}{site} {_said(run, last, kept)}; {_why(run, last)}."
    return sentence if sentence.startswith("http") else sentence[0].upper() + sentence[1:]


def _said(run: Run, last: Level, kept: Sequence[int]) -> str:
    """What the site holds.

    Args:
        run: what was played.
        last: level.
        kept: numbers of users of whom the limit was kept.
    """
    within = f"of this visit within {shown(run.limit)}"
    if not kept and last.unsure:
        return "may hold more or less"
    if not kept:
        return f"does not hold {_counted(last.users, 'user')} {within}, as {last.broken}"
    at_least = "" if last.broken and not last.unsure else "at least "
    return f"holds {at_least}{_counted(kept[-1], 'user')} {within}"


def _why(run: Run, last: Level) -> str:
    """Why it holds no more, as far as that is known."""
    if last.unsure:
        more = "more processes (--processes)" if last.busy < BUSY else "another machine"
        return f"with {_counted(last.users, 'user')} {last.unsure}, so let {more} play"
    if not last.broken:
        return "no limit was reached"
    limit = f"the first limit is {first_limit(last, run.here, run.cores)}"
    return (
        limit if last.broken.endswith("failed") else f"{limit}; with {_counted(last.users, 'user')} {last.broken}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
