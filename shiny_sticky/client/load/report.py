"""The report: one HTML file with all that was found, which needs nothing from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from shiny_sticky.client.load import charts, results
from shiny_sticky.client.load.judging import quantile, shown
from shiny_sticky.client.load.machine import Look
from shiny_sticky.client.load.notes import Fault, Reply
from shiny_sticky.client.load.results import Found, Moment
from shiny_sticky.errors import StickyError

TEMPLATE = Path(__file__).with_name("report.html.j2")

# Points that a line has at most: more cannot be told apart.
POINTS = 300

# Rows of faults and events that are shown.
ROWS = 40

COLOURS = 8


@dataclass(frozen=True)
class FaultRow:
    """Faults of one kind.

    Attributes:
        times: how many.
        what: was done.
        why: it failed.
        first: when the first was, in seconds.
    """

    times: int
    what: str
    why: str
    first: float


def write(file: Path, page: Path) -> str:
    """Write the report.

    Args:
        file: of results.
        page: the HTML file.

    Returns:
        The answer, in a sentence.

    Raises:
        StickyError: there are no results, or the page cannot be written.
    """
    found = results.read(file)
    try:
        page.write_text(html(found), encoding="utf-8")
    except OSError as error:
        raise StickyError(f"{page} cannot be written: {error.strerror}") from None
    return found.verdict or "It was ended before there was an answer."


def html(found: Found) -> str:
    """The report's text."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    end = max((moment.at for moment in found.moments), default=1.0)
    marks = [(level.begin, float(level.users)) for level in found.levels]
    width = max(1.0, end / POINTS)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=found.run,
        began=f"{datetime.fromtimestamp(found.run.began):%Y-%m-%d %H:%M}",
        verdict=found.verdict or "It was ended before there was an answer.",
        levels=found.levels,
        shown=shown,
        users_chart=Markup(charts.over_time([_users(found.moments, width)], "", end, marks=marks)),
        times_chart=Markup(
            charts.over_time(_times(found.replies, width), " ms", end, 1000 * found.run.limit, marks=marks)
        ),
        events_chart=Markup(charts.ranges(_events(found.replies), " ms", 1000 * found.run.limit)),
        sessions_chart=Markup(charts.over_time(_by_worker(found.looks, "sessions"), "", end, marks=marks)),
        workers_chart=_cpu_chart(found, end),
        lag_chart=Markup(charts.over_time([_lag(found.moments, width)], " ms", end, marks=marks)),
        faults=_faults(found.faults),
    )


def _users(moments: Sequence[Moment], width: float) -> charts.Line:
    """How many users there were: those of all processes together."""
    now: dict[int, int] = {}
    points: dict[int, float] = {}
    for moment in moments:
        now[moment.process] = moment.users
        points[int(moment.at / width)] = float(sum(now.values()))
    return charts.Line("users", [(number * width, value) for number, value in points.items()], 1)


def _times(replies: Sequence[Reply], width: float) -> list[charts.Line]:
    """The median answer and p95, of each piece of time."""
    pieces: dict[int, list[float]] = defaultdict(list)
    for reply in replies:
        pieces[int(reply.at / width)].append(1000 * reply.seconds)
    lines = []
    for colour, (name, share) in enumerate((("p50", 0.5), ("p95", 0.95)), 1):
        points = [((number + 0.5) * width, quantile(pieces[number], share) or 0.0) for number in sorted(pieces)]
        lines.append(charts.Line(name, points, colour))
    return lines


def _events(replies: Sequence[Reply]) -> list[charts.Range]:
    """Times by event, in the order in which events first came."""
    by_event: dict[str, list[float]] = defaultdict(list)
    for reply in replies:
        by_event[reply.what].append(reply.seconds)
    rows = []
    for what, seconds in list(by_event.items())[:ROWS]:
        p50, p95, p99 = (quantile(seconds, share) or 0.0 for share in (0.5, 0.95, 0.99))
        note = f"{shown(p50)}, {shown(p95)} ({len(seconds)})"
        rows.append(charts.Range(what, 1000 * p50, 1000 * p95, 1000 * p99, note))
    return rows


def _by_worker(looks: Iterable[Look], what: str) -> list[charts.Line]:
    """A line for each worker; the first has as many colours as there are."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for look in looks:
        for worker in look.workers:
            value = worker.sessions if what == "sessions" else 100 * worker.cpu
            lines[worker.name].append((look.at, float(value)))
    return [
        charts.Line(f"{name}, {'sessions' if what == 'sessions' else 'CPU'}", points, number % COLOURS + 1)
        for number, (name, points) in enumerate(lines.items())
    ]


def _cpu_chart(found: Found, end: float) -> Markup:
    """CPU by worker; empty if the status was not known."""
    lines = _by_worker(found.looks, "cpu")
    return Markup(charts.over_time(lines, " %", end)) if lines else Markup()


def _lag(moments: Sequence[Moment], width: float) -> charts.Line:
    """How late the client was, at most, in each piece of time."""
    points: dict[int, float] = defaultdict(float)
    for moment in moments:
        number = int(moment.at / width)
        points[number] = max(points[number], 1000 * moment.lag)
    return charts.Line("lag of the client, at most", [(n * width, value) for n, value in points.items()], 2)


def _faults(faults: Iterable[Fault]) -> list[FaultRow]:
    """Faults by kind, the most frequent first."""
    kinds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for fault in faults:
        kinds[fault.what, fault.why].append(fault.at)
    rows = [FaultRow(len(times), what, why, min(times)) for (what, why), times in kinds.items()]
    return sorted(rows, key=lambda row: -row.times)[:ROWS]
