"""The status of a site: what runs, for people and programs to read."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Any

import psutil

from shiny_sticky import processes
from shiny_sticky.supervision.incarnation import Incarnation
from shiny_sticky.supervision.site import Site
from shiny_sticky.supervision.slot import Slot


@dataclass(frozen=True)
class ProcessStatus:
    """A process of a worker.

    Attributes:
        name: the incarnation.
        pid: the process.
        state: serving, silent (its event loop is busy; new visitors go elsewhere), draining or ended.
        since: its start, Unix time in seconds.
        sessions: open websockets.
        suspended: those of them whose connection is lost, and that wait for their page.
        sessions_served: websockets accepted since the start.
        memory: resident bytes.
        cpu: seconds in all.
    """

    name: str
    pid: int
    state: str
    since: float
    sessions: int
    suspended: int
    sessions_served: int
    memory: int
    cpu: float

    @classmethod
    def of(cls, process: Incarnation, state: str) -> ProcessStatus:
        """The status of a process."""
        memory, cpu = 0, 0.0
        with contextlib.suppress(psutil.Error):
            seen = psutil.Process(process.pid)
            memory, times = seen.memory_info().rss, seen.cpu_times()
            cpu = times.user + times.system
        return cls(
            name=process.name,
            pid=process.pid,
            state=state if process.alive else "ended",
            since=process.started_at,
            sessions=process.sessions,
            suspended=process.suspended,
            sessions_served=process.sessions_served,
            memory=memory,
            cpu=round(cpu, 2),
        )


@dataclass(frozen=True)
class WorkerStatus:
    """A worker.

    Attributes:
        name: its slot.
        app: whose it is.
        restarts: how often it was filled again after a failure.
        asleep: whether it has no process until a request comes.
        incarnations: its processes, the one that serves first.
    """

    name: str
    app: str
    restarts: int
    asleep: bool
    incarnations: list[ProcessStatus]

    @classmethod
    def of(cls, slot: Slot) -> WorkerStatus:
        """The status of a slot."""
        state = "silent" if slot.silent else "serving"
        serving = [] if slot.current is None else [ProcessStatus.of(slot.current, state)]
        draining = [ProcessStatus.of(process, "draining") for process in slot.draining]
        return cls(slot.name, slot.release.app_name, slot.restarts, slot.waiting is not None, serving + draining)


@dataclass(frozen=True)
class AppStatus:
    """An app.

    Attributes:
        name: the app.
        workers: those that take new sessions.
        min: how many there are at least.
        max: at most.
        sessions: open websockets of these.
        suspended: those of them whose connection is lost, and that wait for their page.
        waiting: visitors for whom there is no place, and who wait for one.
        room: sessions that they take before another worker is started.
        scaled: what was done last about the number of workers, or not, and why; empty if nothing was.
        isolated: whether each session has a worker of its own.
    """

    name: str
    workers: int
    min: int
    max: int
    sessions: int
    suspended: int
    waiting: int
    room: int
    scaled: str
    isolated: bool = False

    @classmethod
    def of(cls, site: Site, name: str) -> AppStatus:
        """The status of an app."""
        app = site.settings.apps[name]
        serving = [slot.current for slot in site.slots_of(name) if slot.current is not None]
        sessions = sum(process.sessions for process in serving)
        return cls(
            name=name,
            workers=len(serving),
            min=app.workers.min,
            max=app.workers.max,
            sessions=sessions,
            suspended=sum(process.suspended for process in serving),
            waiting=site.waiting.get(name, 0),
            room=max(0, len(serving) * app.sessions_per_worker - sessions),
            scaled=site.scaled.get(name, ""),
            isolated=app.isolated,
        )


@dataclass(frozen=True)
class SiteStatus:
    """Everything that runs.

    Attributes:
        launcher: its pid, and since when it runs, in Unix time.
        nginx: its pid; None if it is not the launcher's to run.
        listen: the addresses that browsers come to.
        apps: by their names.
        workers: those in the table, and removed ones that drain.
        parents: the fork servers, each with app, pid and resident bytes.
    """

    launcher: dict[str, Any]
    nginx: dict[str, Any] | None
    listen: list[str]
    apps: list[AppStatus]
    workers: list[WorkerStatus]
    parents: list[dict[str, Any]]

    @classmethod
    def of(cls, site: Site) -> SiteStatus:
        """The status of a site."""
        return cls(
            launcher={"pid": os.getpid(), "since": site.started_at},
            nginx=None if site.front is None else {"pid": site.front.pid},
            listen=list(site.settings.listen),
            apps=[AppStatus.of(site, name) for name in site.settings.apps],
            workers=[WorkerStatus.of(slot) for slot in site.all_slots],
            parents=[
                {"app": release.app_name, "pid": server.pid, "memory": processes.memory(server.pid)}
                for release in site.releases
                if (server := release.fork_server) is not None
            ],
        )


def table(status: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A status, as JSON has it, in columns and rows for people."""
    columns = ["worker", "process", "pid", "state", "sessions", "served", "memory", "cpu", "restarts", "up"]
    rows = []
    for worker in status["workers"]:
        if worker["asleep"]:
            rows.append([worker["name"], "-", "-", "sleeping", "0", *["-"] * 3, str(worker["restarts"]), "-"])
        for one in worker["incarnations"]:
            rows.append(
                [
                    worker["name"],
                    one["name"],
                    str(one["pid"]),
                    one["state"],
                    f"{one['sessions']}{_apart(one)}",
                    str(one["sessions_served"]),
                    f"{one['memory'] / (1 << 20):.0f} MB",
                    f"{one['cpu']:.1f} s",
                    str(worker["restarts"]),
                    duration(time.time() - one["since"]),
                ]
            )
    return columns, rows


def scaled(status: dict[str, Any]) -> list[str]:
    """A line for each app that has as many workers as it needs: how many, and why."""
    lines = []
    for app in status["apps"]:
        if app["isolated"]:
            each = f"{app['sessions']} sessions{_apart(app)} of {app['max']} at most, each in a process of its own"
            lines.append(f"{app['name']}: {each}; {app['workers']} workers, {app['room']} of them free")
        elif app["min"] < app["max"]:
            bounds = f"{app['workers']} of {app['min']} to {app['max']} workers"
            last = f"; it {app['scaled']}" if app["scaled"] else ""
            sessions = f"{app['sessions']} sessions{_apart(app)}"
            lines.append(f"{app['name']}: {bounds}, {sessions}, room for {app['room']} more{last}")
    return lines


def waiting(status: dict[str, Any]) -> list[str]:
    """A line for each app that visitors wait for: how many do."""
    return [
        f"{app['name']}: full (max_sessions), visitors who wait for a place: {app['waiting']}"
        for app in status["apps"]
        if app["waiting"]
    ]


def _apart(one: dict[str, Any]) -> str:
    """How many sessions wait for their pages, to stand behind how many there are: `` (2 suspended)``."""
    return f" ({one['suspended']} suspended)" if one["suspended"] else ""


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``5 min``, ``3 h``, ``2 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
