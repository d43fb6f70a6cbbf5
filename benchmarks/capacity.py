"""How many users a machine holds: their number grows until they wait too long, or something fails."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts import HOSTS, Address, Host
from measure import cpu_seconds, pss, tree
from programs import Missing
from scenarios import Bench, Figures, Outcome

HERE = Path(__file__).resolve().parent

# Users that nobody has to wait for longer than this are held: 95 of 100 inputs have their output by then.
LONGEST_P95 = 0.3

# Seconds for which each number of users is watched.
HOLD, SMOKE_HOLD = 10, 2

# Seconds that users think on average; one alone does so quickly, to have some updates to measure.
THINK, THINK_ALONE = 3, 0.1

# Client processes. Where they come back from their thinking later than this, they are the limit, not the server.
CLIENTS = 2
LATE = 0.05


@dataclass(frozen=True)
class App:
    """An app that users use.

    Attributes:
        key: its name in results.json.
        title: its name in the tables.
        steps: numbers of users, each of which is watched.
    """

    key: str
    title: str
    steps: tuple[int, ...]

    @property
    def file(self) -> Path:
        """Its code."""
        return HERE / "apps" / f"{self.key}.py"


LIGHT = App("light", "light app", (1, 30, 100, 200, 300, 400, 500, 600, 700, 850, 1000, 1200, 1400, 1700, 2000))
HEAVY = App("heavy", "20 ms app", (1, 25, 50, 75, 100, 125, 150, 175, 200, 225, 250, 275, 300))

# To see that there are figures.
SMOKE = App("light", "light app", (9,))


class Crowd:
    """The users, in client processes; a context manager.

    Args:
        address: of the app.
    """

    def __init__(self, address: Address) -> None:
        self._command = [sys.executable, str(HERE / "users.py"), str(address.port), address.path]
        self._clients: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Crowd:
        pipe = subprocess.PIPE
        self._clients = [
            subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True) for _ in range(CLIENTS)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.kill()
            client.communicate()

    @property
    def pids(self) -> set[int]:
        """Of the client processes."""
        return {client.pid for client in self._clients}

    def grow(self, users: int, think: float) -> list[dict[str, Any]]:
        """Let there be so many users, who think for so many seconds, and wait until all are there."""
        shares = [(users + place) // CLIENTS for place in range(CLIENTS)]
        return self._tell([{"users": share, "think": think} for share in shares])

    def measure(self, seconds: float) -> list[dict[str, Any]]:
        """What the users of each client process see meanwhile."""
        return self._tell([{"measure": seconds}] * CLIENTS)

    def _tell(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for client, order in zip(self._clients, orders, strict=True):
            assert client.stdin is not None
            client.stdin.write(json.dumps(order) + "\n")
            client.stdin.flush()
        return [json.loads(client.stdout.readline()) for client in self._clients if client.stdout is not None]


def capacity(bench: Bench) -> Outcome:
    """Users of all contestants, with each app."""
    outcome = Outcome()
    for app in (SMOKE,) if bench.smoke else (LIGHT, HEAVY):
        for host in (kind() for kind in HOSTS):
            if bench.smoke and host.needs_network:
                outcome.notes.append(f"{host.title} is left out, as it installs something to begin with.")
                continue
            bench.say(f"{app.title}: starting {host.key}")
            others = set(tree(os.getpid()))
            try:
                with host.serving(app.file) as address, Crowd(address) as crowd:
                    _grow(bench, outcome, host, app, Watch(crowd, others, SMOKE_HOLD if bench.smoke else HOLD))
            except Missing as why:
                outcome.notes.append(f"{host.title} is left out: {why}.")
    return outcome


def _grow(bench: Bench, outcome: Outcome, host: Host, app: App, watch: Watch) -> None:
    """Let the users of one contestant become more; note the figures of each step, and how many were held."""
    row = f"{host.key}-{app.key}"
    outcome.titles[row] = f"{host.title}, {app.title}"
    outcome.rounds[row] = [{"held_users": 0}]
    for users in app.steps:
        bench.say(f"{app.title}, {host.key}: {users} users")
        figures, failures = watch.step(users, THINK_ALONE if users == 1 else THINK)
        outcome.titles[f"{row}-{users}"] = f"{users} users"
        outcome.rounds[f"{row}-{users}"] = [figures]
        if end := _end(figures, failures):
            outcome.notes.append(f"{outcome.titles[row]}: {users} users are too many: {end}.")
            return
        outcome.rounds[row] = [{"held_users": users, **figures}]
    outcome.notes.append(f"{outcome.titles[row]}: {users} users are held, and more were not tried.")


class Watch:
    """What one contestant does for its users.

    Args:
        crowd: the users.
        others: processes that ran before the contestant's.
        seconds: to watch each number of users for, at least.
    """

    def __init__(self, crowd: Crowd, others: set[int], seconds: float) -> None:
        self._crowd = crowd
        self._others = others
        self._seconds = seconds
        time.sleep(seconds)  # for what is done after a start
        before = cpu_seconds(self.servers())
        time.sleep(seconds)
        self._idle_cpu = (cpu_seconds(self.servers()) - before) / seconds
        self._idle_memory = pss(self.servers())

    def servers(self) -> list[int]:
        """The contestant's processes: what descends from this one, but for clients and what ran before."""
        return [pid for pid in tree(os.getpid()) if pid not in self._others and pid not in self._crowd.pids]

    def step(self, users: int, think: float = THINK) -> tuple[Figures, list[str]]:
        """Watch so many users for a while.

        Args:
            users: how many there are, at least as many as before.
            think: seconds that they do so on average.

        Returns:
            The figures, and what has failed.
        """
        self._crowd.grow(users, think)
        seconds = self._seconds
        before = cpu_seconds(self.servers())
        told = self._crowd.measure(seconds)
        cpu = cpu_seconds(self.servers()) - before - self._idle_cpu * seconds
        memory = pss(self.servers())
        failures = [failure for client in told for failure in client["failures"]]
        updates = sum(len(client["latencies"]) for client in told)
        figures = {"mb_all": memory / 1e6, "mb_user": (memory - self._idle_memory) / 1e6 / users}
        if updates < 2:
            return figures, [*failures, f"{updates} outputs in {seconds:.0f} s"]
        p50, p95, p99 = _percentiles(told, "latencies")
        return figures | {
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "cpu_update": 1000 * cpu / updates,
            "messages_update": sum(client["messages"] for client in told) / updates,
            "bytes_update": sum(client["bytes"] for client in told) / updates,
            "cpu_client": 100 * sum(client["cpu"] for client in told) / seconds / CLIENTS,
            "late_ms": _percentiles(told, "late")[1],
        }, failures


def _percentiles(told: list[dict[str, Any]], what: str) -> tuple[float, float, float]:
    """The median, the 95th and the 99th percentile of times (in seconds) that clients tell, in ms."""
    cuts = statistics.quantiles([value for client in told for value in client[what]], n=100, method="inclusive")
    return 1000 * cuts[49], 1000 * cuts[94], 1000 * cuts[98]


def _end(figures: Figures, failures: list[str]) -> str:
    """Why no more users are tried; empty if more are."""
    if failures:
        return "; ".join(f"{count} × {why}" for why, count in Counter(failures).most_common(3))
    if figures["p95_ms"] <= 1000 * LONGEST_P95:
        return ""
    limit = f"95 of 100 outputs are there within {figures['p95_ms']:.0f} ms"
    if figures["late_ms"] > 1000 * LATE:
        limit += f" (the clients are a limit, too: {figures['late_ms']:.0f} ms late)"
    return limit
