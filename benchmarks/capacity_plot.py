"""How long users wait and what their updates cost as they become more: a curve for each contestant."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from capacity import HEAVY, LIGHT, LONGEST_P95
from hosts import HOSTS
from scenarios import Outcome

SHADES = {"ours": "#1769aa", "before": "#7fb2d9", "uvicorn": "#78909c", "hash": "#c9a227", "shinyhub": "#8e5a9b"}
PANELS = (("p95_ms", "95 % of the outputs are there within, ms"), ("cpu_update", "CPU an update, ms"))


def draw(outcome: Outcome) -> plt.Figure:
    """Draw both apps, a row of panels each."""
    figure, rows = plt.subplots(2, len(PANELS), figsize=(9.6, 6), layout="constrained")
    for app, row in zip((LIGHT, HEAVY), rows, strict=True):
        for (key, title), ax in zip(PANELS, row, strict=True):
            for host in HOSTS:
                points = _points(outcome, f"{host.key}-{app.key}", key)
                label = re.sub("[*`]", "", host.title)
                ax.plot(*points, color=SHADES[host.key], marker="o", markersize=3, label=label)
            _dress(ax, f"{app.title}: {title}")
        row[0].set_yscale("log")
        row[0].axhline(1000 * LONGEST_P95, color="#b71c1c", linewidth=0.8, linestyle=":")
    rows[0][0].legend(frameon=False, fontsize=8)
    return figure


def _points(outcome: Outcome, row: str, key: str) -> tuple[list[int], list[float]]:
    """A figure of one contestant by the number of users."""
    steps = {
        int(name.removeprefix(f"{row}-")): rounds[0][key]
        for name, rounds in outcome.rounds.items()
        if name.startswith(f"{row}-") and key in rounds[0]
    }
    return sorted(steps), [steps[users] for users in sorted(steps)]


def _dress(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
    ax.set_xlabel("users", loc="left", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
