"""The results as pictures: bars with their spread, and the cost as workers grow."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

import capacity_plot
from measure import spread
from scenarios import Outcome
from wanted import COLUMNS

OURS, OTHERS, TEXT = "#1769aa", "#b8c4ce", "#37474f"

# Name of the picture: panels of (scenario, column, title, which way is better).
BARS = {
    "overview": (
        (1, "cpu_us", "CPU a routed request, µs", "less"),
        (3, "pages", "Page loads a second", "more"),
    ),
    "routing": (
        (1, "cpu_us", "CPU a routed request, µs", "less"),
        (2, "cpu_us", "CPU a first request, µs", "less"),
    ),
    "pages": ((3, "pages", "Page loads a second", "more"), (3, "kb_page", "Size of a page load, KB", "less")),
    "sessions": (
        (5, "sessions_rate", "New Shiny sessions a second", "more"),
        (10, "wrong", "Session requests gone wrong, %", "less"),
    ),
    "websockets": (
        (6, "p50_us", "Message there and back, µs (p50)", "less"),
        (7, "kb_socket", "Memory an idle websocket, KB", "less"),
    ),
    "start": ((8, "ready8", "8 workers ready, s", "less"), (8, "further", "Memory a further worker, MB", "less")),
}


def write(outcomes: dict[int, Outcome], folder: Path) -> dict[str, int]:
    """Draw what there are figures for.

    Returns:
        File names, each with the first scenario that it shows.
    """
    plt.rcParams.update(
        {
            "font.size": 9,
            "text.color": TEXT,
            "axes.labelcolor": TEXT,
            "axes.titlecolor": TEXT,
            "xtick.color": TEXT,
            "ytick.color": TEXT,
        }
    )
    drawn = {}
    for name, panels in BARS.items():
        if not all(number in outcomes and _values(outcomes[number], key) for number, key, _, _ in panels):
            continue
        rows = max(len(_values(outcomes[number], key)) for number, key, _, _ in panels)
        figure, axes = plt.subplots(1, len(panels), figsize=(9.6, 0.7 + 0.33 * rows), layout="constrained")
        for ax, (number, key, title, better) in zip(axes, panels, strict=True):
            _bars(ax, _values(outcomes[number], key), COLUMNS[key][1])
            ax.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
            ax.set_xlabel(f"{better} is better", loc="left", color="#78909c", fontsize=8)
        drawn[_save(figure, folder, name)] = panels[0][0]
    if 9 in outcomes:
        drawn[_growth(outcomes[9], folder)] = 9
    if 11 in outcomes:
        drawn[_save(capacity_plot.draw(outcomes[11]), folder, "capacity")] = 11
    return drawn


def _values(outcome: Outcome, key: str) -> dict[str, list[float]]:
    """A figure's rounds, by the title of the row."""
    found = {
        outcome.titles[row]: [figures[key] for figures in rounds if key in figures]
        for row, rounds in outcome.rounds.items()
    }
    return {title: values for title, values in found.items() if values}


def _bars(ax: Axes, values: dict[str, list[float]], digits: int) -> None:
    """Medians as bars with their values; a thin line is where half of the rounds lie."""
    titles = list(values)[::-1]
    spreads = [spread(values[title]) for title in titles]
    ours = ["this project" in title or "forked" in title for title in titles]
    ax.barh(
        range(len(titles)), [s.median for s in spreads], height=0.7, color=[OURS if own else OTHERS for own in ours]
    )
    widest = max(s.high for s in spreads) or 1
    for place, (s, own) in enumerate(zip(spreads, ours, strict=True)):
        ax.plot([s.low, s.high], [place, place], color=TEXT, linewidth=0.9)
        ax.text(
            s.high + 0.02 * widest,
            place,
            f"{s.median:,.{digits}f}",
            va="center",
            fontweight="bold" if own else "normal",
        )
    ax.set_yticks(range(len(titles)), [_plain(title) for title in titles])
    for label, own in zip(ax.get_yticklabels(), ours, strict=True):
        label.set_fontweight("bold" if own else "normal")
    ax.set_xlim(0, 1.18 * widest)
    ax.set_xticks([])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(OTHERS)
    ax.tick_params(length=0)


def _growth(outcome: Outcome, folder: Path) -> str:
    """CPU time a request by the number of names, one line a contestant."""
    lines: dict[str, dict[int, list[float]]] = {}
    for row, rounds in outcome.rounds.items():
        key, _, count = row.rpartition("-")
        lines.setdefault(key, {})[int(count)] = [figures["cpu_us"] for figures in rounds]
    figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    shades = {"ours": OURS, "plain": "#78909c", "haproxy": "#c9a227"}
    ends = []
    for key, points in lines.items():
        counts = sorted(points)
        spreads = [spread(points[count]) for count in counts]
        color = shades.get(key, OTHERS)
        ax.plot(counts, [s.median for s in spreads], color=color, marker="o", markersize=4)
        title = _plain(outcome.titles[f"{key}-{counts[0]}"].rpartition(",")[0])
        ends.append((spreads[-1].median, title, color, counts))
    # A line's name stands at its end; names that would overlap are moved apart.
    top = max(spread(values).median for points in lines.values() for values in points.values())
    height = 0.0
    for median, title, color, counts in sorted(ends):
        height = max(median, height + 0.07 * top)
        ax.annotate(f"  {title}", (counts[-1], height), color=color, va="center", annotation_clip=False)
        ax.set_xscale("log", base=2)
        ax.set_xticks(counts, [str(count) for count in counts])
    ax.minorticks_off()
    ax.set_ylim(0, 1.1 * top)
    ax.set_xlabel("workers")
    ax.set_ylabel("CPU time a request, µs")
    ax.spines[["top", "right"]].set_visible(False)
    return _save(figure, folder, "growth")


def _plain(title: str) -> str:
    return title.replace("*", "").replace("`", "")


def _save(figure: plt.Figure, folder: Path, name: str) -> str:
    figure.savefig(folder / f"{name}.png", dpi=160)
    plt.close(figure)
    return f"{name}.png"
