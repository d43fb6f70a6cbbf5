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
    with_workers = f"With {len(last.workers)} worker{'s' * (len(last.workers) > 1)} " if last.workers else ""
    site = "this machine" if run.here else run.url
    within = f"within {shown(run.limit)}"
    if last.unsure:
        said = f"holds at least {kept[-1]} users of this visit {within}" if kept else "may hold more or less"
        more = "more processes (--processes)" if last.busy < BUSY else "another machine"
        why = f"with {last.users} users {last.unsure}, so let {more} play"
    elif last.broken and not kept:
        said = f"does not hold {last.users} user{'s' * (last.users > 1)} of this visit {within}, as {last.broken}"
        why = f"the first limit is {first_limit(last, run.here, run.cores)}"
    elif last.broken:
        said = f"holds {kept[-1]} user{'s' * (kept[-1] > 1)} of this visit {within}"
        why = f"the first limit is {first_limit(last, run.here, run.cores)}; with {last.users} users {last.broken}"
    else:
        said = f"holds at least {kept[-1]} user{'s' * (kept[-1] > 1)} of this visit {within}"
        why = "no limit was reached"
    sentence = f"{with_workers}{site} {said}; {why}."
    return sentence if sentence.startswith("http") else sentence[0].upper() + sentence[1:]
