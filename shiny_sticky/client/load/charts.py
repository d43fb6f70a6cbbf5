"""Charts as SVG: lines over time, and ranges by name. Colours are those of the page that they are put into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 900, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 30
ROW, NAMES = 26, 330

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: for the legend.
        points: time and value, each.
        colour: a number from 1 to 8, of the page's colours.
    """

    name: str
    points: Points
    colour: int


@dataclass(frozen=True)
class Range:
    """A row of a chart: from the middle to what all but a few are below.

    Attributes:
        name: of the row.
        low: p50.
        middle: p95.
        high: p99.
        note: what is said beside it.
    """

    name: str
    low: float
    middle: float
    high: float
    note: str


def over_time(lines: Sequence[Line], unit: str, end: float, limit: float | None = None, marks: Points = ()) -> str:
    """Draw lines over seconds.

    Args:
        lines: that are drawn.
        unit: of their values.
        end: the last second.
        limit: a value that is drawn as a line of its own.
        marks: seconds at which something happened; the second number says what is written beside, as `%g`.
    """
    highest = max([value for line in lines for _, value in line.points] + [limit or 0.0])
    ticks = steps(highest)
    top, end = ticks[-1], max(end, 1.0)

    def x(second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(second, end) / end

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_names(lines))} over time">']
    for tick in ticks:
        parts.append(_across("grid", y(tick)))
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}{escape(unit)}</text>')
    for second in filter(lambda second: second <= end, steps(end, 8)):
        parts.append(f'<text x="{x(second):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{second:g} s</text>')
    for second, number in marks:
        parts.append(_mark(x(second), number))
    if limit is not None:
        parts.append(_across("limit", y(limit)))
        parts.append(
            f'<text class="limit" x="{WIDTH - RIGHT}" y="{y(limit) - 4:.1f}" text-anchor="end">the limit</text>'
        )
    for line in lines:
        parts.append(_polyline(line, [(x(second), y(value)) for second, value in line.points]))
    return "".join([*parts, "</svg>", _legend(lines)])


def _across(what: str, y: float) -> str:
    """A line from left to right."""
    return f'<line class="{what}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _mark(x: float, number: float) -> str:
    """A line from top to bottom, with a number beside it."""
    line = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return f'{line}<text x="{x + 4:.1f}" y="{TOP + 8}">{number:g}</text>'


def _polyline(line: Line, places: Points) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="c{line.colour}" points="{points}"><title>{escape(line.name)}</title></polyline>'


def ranges(rows: Sequence[Range], unit: str, limit: float) -> str:
    """Draw a row for each name, from p50 to p95, and thinner to p99.

    Args:
        rows: in their order.
        unit: of the values.
        limit: a value that is drawn as a line.
    """
    top = steps(max([row.high for row in rows] + [limit]))[-1]
    height = ROW * len(rows) + TOP + BOTTOM
    room = WIDTH - NAMES - 150

    def x(value: float) -> float:
        return NAMES + room * value / top

    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="times by event">']
    for tick in steps(top, 5):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
        )
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:g}{escape(unit)}</text>')
    for number, row in enumerate(rows):
        middle = TOP + ROW * number + ROW / 2
        parts.append(f'<text x="{NAMES - 10}" y="{middle + 4}" text-anchor="end">{escape(row.name)}</text>')
        parts.append(
            f'<line class="thin" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{middle}" y2="{middle}"/>'
        )
        width = max(2.0, x(row.middle) - x(row.low))
        parts.append(
            f'<rect class="c1" x="{x(row.low):.1f}" y="{middle - 6}" width="{width:.1f}" height="12" rx="3"/>'
            f'<text x="{NAMES + room + 12}" y="{middle + 4}">{escape(row.note)}</text>'
        )
    parts.append(f'<line class="limit" x1="{x(limit):.1f}" x2="{x(limit):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    return "".join([*parts, "</svg>"])


def steps(highest: float, about: int = 4) -> list[float]:
    """Round values from 0 to at least the highest.

    Args:
        highest: value that must have its place.
        about: how many there should be.
    """
    if highest <= 0:
        return [0.0, 1.0]
    power = 10 ** math.floor(math.log10(highest / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * about >= highest * 0.999)
    return [round(step * number, 10) for number in range(math.ceil(highest / step * 0.999) + 1)]


def _names(lines: Sequence[Line]) -> str:
    return ", ".join(line.name for line in lines)


def _legend(lines: Sequence[Line]) -> str:
    items = (f'<span class="k{line.colour}">{escape(line.name)}</span>' for line in lines)
    return f'<p class="legend">{"".join(items)}</p>'
