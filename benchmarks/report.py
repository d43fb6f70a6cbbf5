"""The results for people: tables in Markdown, and plots."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import plots
import wanted
from measure import Spread, spread
from scenarios import BEFORE_THE_DEMO, FRONTS, Outcome
from wanted import COLUMNS, SUMMARY, Scenario, Target


def has_figures(outcome: Outcome) -> bool:
    """Whether there is at least one figure for this project, and all of its figures are numbers."""
    ours = [
        figure
        for row, rounds in outcome.rounds.items()
        if row.startswith(("ours", "demo-"))
        for figures in rounds
        for figure in figures.values()
    ]
    return bool(ours) and all(math.isfinite(figure) for figure in ours)


def ratio(outcome: Outcome, key: str, row: str, over: str) -> Spread | None:
    """A figure of one row by that of another, round for round."""
    pairs = zip(outcome.rounds.get(row, []), outcome.rounds.get(over, []), strict=False)
    values = [ours[key] / theirs[key] for ours, theirs in pairs if theirs.get(key) and key in ours]
    return spread(values) if values else None


def judge(target: Target, outcome: Outcome) -> tuple[Spread | None, str, str]:
    """What was reached of a target.

    Returns:
        The figure or ratio, the row that it was divided by, and one of: reached, within the spread, missed,
        not measured.
    """
    if target.over:
        found = [(row, ratio(outcome, target.key, target.row, row)) for row in target.over]
        known = [(row, value) for row, value in found if value is not None]
        if not known:
            return None, "", "not measured"
        # Of several, the one that is hardest to beat.
        over, value = (min if target.least else max)(known, key=lambda pair: pair[1].median)
    else:
        figures = [figures[target.key] for figures in outcome.rounds.get(target.row, []) if target.key in figures]
        if not figures:
            return None, "", "not measured"
        over, value = "", spread(figures)
    reached = value.median >= target.limit if target.least else value.median <= target.limit
    touched = value.low <= target.limit <= value.high
    return value, over, "reached" if reached else "within the spread" if touched else "missed"


def figures(scenario: Scenario, outcome: Outcome) -> str:
    """One line for the terminal: this project's own figures."""
    row = next(iter(outcome.rounds), "")
    parts = (f"{COLUMNS[key][0]} {_cell(key, outcome.rounds.get(row, []))}" for key in scenario.columns.split())
    return f"{row}: {', '.join(parts)}; {len(outcome.rounds) - 1} rows more"


def verdicts(scenario: Scenario, outcome: Outcome) -> str:
    """One line for the terminal: what was wanted and reached."""
    parts = []
    for target in scenario.targets:
        value, over, verdict = judge(target, outcome)
        if value is not None:
            figure = number(value.median, 0 if value.median >= 100 else 2)
            parts.append(f"{target.text}: {figure}{f' x {over}' if over else ''}, {verdict}")
    return "; ".join(parts) or f"{sum(map(len, outcome.rounds.values()))} figures"


def number(value: float, digits: int) -> str:
    """As tables show it."""
    return f"{value:,.{digits}f}"


def _cell(key: str, rounds: list[dict[str, float]]) -> str:
    values = [figures[key] for figures in rounds if key in figures]
    return number(spread(values).median, COLUMNS[key][1]) if values else "–"


def table(scenario: Scenario, outcome: Outcome) -> list[str]:
    """A scenario's table, one line an item."""
    keys = scenario.columns.split()
    headings = ["", *(COLUMNS[key][0] for key in keys)]
    if scenario.compared:
        reference = outcome.titles.get(scenario.reference, scenario.reference)
        headings.append(f"{COLUMNS[scenario.compared][0]}: ratio to {reference} (middle half)")
    lines = [f"| {' | '.join(headings)} |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for row, rounds in outcome.rounds.items():
        cells = [outcome.titles[row], *(_cell(key, rounds) for key in keys)]
        if scenario.compared:
            value = ratio(outcome, scenario.compared, row, scenario.reference)
            cells.append(f"{value.median:.2f} ({value.low:.2f}–{value.high:.2f})" if value else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def targets(scenario: Scenario, outcome: Outcome) -> list[str]:
    """What was wanted and what was reached, one line an item."""
    lines = ["| wanted | reached | |", "|---|--:|---|"]
    for target in scenario.targets:
        value, over, verdict = judge(target, outcome)
        digits = 0 if value and value.median >= 100 else 2
        figure = f"{number(value.median, digits)}" if value else "–"
        if value and value.low != value.high:
            figure += f" ({number(value.low, digits)}–{number(value.high, digits)})"
        if over and len(target.over) > 1:
            figure += f" × {outcome.titles[over]}"
        lines.append(f"| {target.text} | {figure} | {verdict} |")
    return lines


def summary(outcomes: dict[int, Outcome]) -> list[str]:
    """One table of all contestants, one line an item; the project's README shows it."""
    rows = list(dict.fromkeys(front.key for front in (*FRONTS, *BEFORE_THE_DEMO)))
    titles = {front.key: front.title for front in (*FRONTS, *BEFORE_THE_DEMO)}
    lines = [f"| | {' | '.join(titles[row] for row in rows)} |", "|---" + "|--:" * len(rows) + "|"]
    for number_, key, title in SUMMARY:
        if (outcome := outcomes.get(number_)) is not None:
            cells = [_cell(key, outcome.rounds.get(row, [])) for row in rows]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def write(results: dict[str, Any], folder: Path) -> None:
    """Write tables, plots and raw figures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    outcomes = {int(key): Outcome(**value) for key, value in results["scenarios"].items()}
    pictures = plots.write(outcomes, folder)
    lines = ["# Benchmark results", ""]
    lines += ["![Routed requests and page loads](overview.png)", ""] if "overview.png" in pictures else []
    lines += [*summary(outcomes), ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in results["about"].items()), ""]
    lines += [
        "Figures are medians of the rounds. Ratios are taken within a round, so that what slows the whole machine",
        "for a while slows both; in brackets is where the middle half of the rounds lies. *Within the spread* says",
        "that the median misses what is wanted, but so closely that the brackets include it. CPU time is that of",
        "the front's processes.",
        "",
    ]
    for scenario in sorted(wanted.ALL, key=lambda scenario: scenario.number):
        if (outcome := outcomes.get(scenario.number)) is None:
            continue
        lines += [f"## {scenario.number}. {scenario.title}", "", scenario.how, ""]
        lines += [*table(scenario, outcome), "", *targets(scenario, outcome), ""]
        lines += [f"- {note}" for note in [*outcome.notes, *outcome.problems]]
        lines += [""] if lines[-1] else []
        for name, first in pictures.items():
            if first == scenario.number and name != "overview.png":
                lines += [f"![{scenario.title}]({name})", ""]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")
