"""The scenarios: what is measured, and on what. What is wanted stands in wanted.py."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

import backends
import load
from contestants import (
    APP,
    Caddy,
    Contestant,
    HAProxy,
    Hash,
    Launched,
    Native,
    Ours,
    Plain,
    UvicornWorkers,
)
from measure import cpu_seconds, pss, tree
from programs import Missing
from shiny_sticky.settings.model import AppSettings
from support.real_site import Site
from support.shiny_session import SessionError, ShinySession

Figures = dict[str, float]

FRONTS = (Ours, Plain, Hash, Native, HAProxy, Caddy)
BEFORE_THE_DEMO = (Launched, Plain, Hash, Native, HAProxy, Caddy, UvicornWorkers)

WORKERS = 4


@dataclass
class Outcome:
    """What came out of a scenario.

    Attributes:
        rounds: for each row of the table the figures of each round.
        titles: of the rows.
        notes: what else there is to say.
        problems: answers that were wrong.
    """

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """How thoroughly it is measured.

    Attributes:
        rounds: of each contestant.
        seconds: of load in each round.
        smoke: only see that it works.
        say: takes what goes on at the moment.
        stack: what is open until the end.
    """

    rounds: int
    seconds: float
    smoke: bool
    say: Callable[[str], None]
    stack: contextlib.ExitStack
    _demo: tuple[list[Path], list[Contestant], Outcome] | None = None

    def demo(self, outcome: Outcome) -> tuple[list[Path], list[Contestant]]:
        """The demo's plain workers, and all fronts before them; started once, for all scenarios that use it."""
        if self._demo is None:
            self.say("starting the demo")
            some = Outcome()
            sockets = self.stack.enter_context(backends.demo(WORKERS))
            fronts = self.stack.enter_context(self.running(BEFORE_THE_DEMO, sockets, some))
            self._demo = sockets, fronts, some
        sockets, fronts, some = self._demo
        outcome.titles |= some.titles
        outcome.notes += some.notes
        return sockets, fronts

    @contextlib.contextmanager
    def running(self, kinds: tuple[type[Contestant], ...], sockets: list[Path], outcome: Outcome) -> Iterator:
        """Start contestants before these sockets; who cannot be had is left out with a note."""
        with contextlib.ExitStack() as stack:
            fronts = []
            for kind in kinds:
                self.say(f"starting {kind.key}")
                try:
                    fronts.append(stack.enter_context(kind(sockets).running()))
                    outcome.titles[kind.key] = kind.title
                except Missing as why:
                    outcome.notes.append(f"{kind.title} is left out: {why}.")
            yield fronts

    def alternate(self, outcome: Outcome, once: dict[str, Callable[[], Figures]], most: int = 99) -> None:
        """Measure all of them by turns, in an order that changes from round to round; at most so many rounds."""
        rows = list(once)
        rounds = min(self.rounds, most)
        for number in range(rounds):
            start = number % len(rows)
            for row in rows[start:] + rows[:start]:
                self.say(f"round {number + 1} of {rounds}: {row}")
                outcome.rounds.setdefault(row, []).append(once[row]())


def _over_http(front: Contestant, seconds: float, requests: list[tuple[str, load.Headers]]) -> Figures:
    """Requests a second, their time, and the front's CPU time for each."""
    before = cpu_seconds(front.pids())
    figures = load.wrk(front.port, seconds, requests)
    cpu = cpu_seconds(front.pids()) - before
    count = figures["requests"]
    return figures | {"rate": count / figures["seconds"], "cpu_us": 1e6 * cpu / count}


# --- 1, 2, 9: a trivial backend


def routed(bench: Bench) -> Outcome:
    """Requests whose cookie names a worker."""
    outcome = Outcome()
    with (
        backends.trivial(WORKERS) as sockets,
        bench.running(FRONTS, sockets, outcome) as fronts,
    ):
        once, wrong = {}, {}
        for front in fronts:
            named = front.named()
            answers = [(name, load.fetch(front.port, "/", {"Cookie": named[name]})) for name in [*named] * 50]
            wrong[front.key] = 100 * sum(reply.body.decode() != name for name, reply in answers) / len(answers)
            requests = [("/", {"Cookie": cookie}) for cookie in named.values()]
            load.wrk(front.port, 0.3, requests)
            once[front.key] = lambda front=front, requests=requests: (
                _over_http(front, bench.seconds, requests) | {"wrong_worker": wrong[front.key]}
            )
        bench.alternate(outcome, once)
    return outcome


def first(bench: Bench) -> Outcome:
    """Requests without a cookie."""
    outcome = Outcome()
    with backends.trivial(WORKERS) as sockets, bench.running(FRONTS, sockets, outcome) as fronts:
        for front in fronts:
            load.wrk(front.port, 0.3, [("/", {})])
        bench.alternate(
            outcome,
            {front.key: lambda front=front: _over_http(front, bench.seconds, [("/", {})]) for front in fronts},
        )
    return outcome


NAMES = (1, 4, 16, 64, 256)


def growing(bench: Bench) -> Outcome:
    """Routed requests, with few names and many."""
    outcome = Outcome()
    once: dict[str, dict[str, Callable[[], Figures]]] = {}
    with contextlib.ExitStack() as stack:
        for count in (1, 16) if bench.smoke else NAMES:
            sockets = stack.enter_context(backends.trivial(count))
            some = Outcome()
            for front in stack.enter_context(bench.running((Ours, Plain, HAProxy), sockets, some)):
                requests = [("/", {"Cookie": cookie}) for cookie in front.named().values()]
                load.wrk(front.port, 0.3, requests)
                row = f"{front.key}-{count}"
                outcome.titles[row] = f"{front.title}, {count} name{'s' if count > 1 else ''}"
                once.setdefault(front.key, {})[row] = lambda front=front, requests=requests: _over_http(
                    front, bench.seconds, requests
                )
            outcome.notes = some.notes
        bench.alternate(outcome, {row: measure for rows in once.values() for row, measure in rows.items()})
    return outcome


# --- 3, 4, 5, 10: the demo


def cold(bench: Bench) -> Outcome:
    """Page loads of the demo by browsers that have never been there."""
    outcome = Outcome()
    sockets, fronts = bench.demo(outcome)
    once = {}
    for front in fronts:
        bench.say(f"warming {front.key}")
        if isinstance(front, Launched):
            until_stable(front.port, 1 if bench.smoke else 6, outcome)
            _compare(front.port, sockets[0], outcome)
        visits = [load.Browser(front.port).load() for _ in range(8)]
        requests = [
            (path, load.BROWSER | ({"Cookie": visit.cookie} if visit.cookie and path != "/" else {}))
            for visit in visits
            for path in visit.replies
        ]
        once[front.key] = lambda front=front, requests=requests, visit=visits[-1]: _page_figures(
            front, 2 * bench.seconds, requests, len(visit.replies), visit.wire
        )
    bench.alternate(outcome, once, most=9)
    return outcome


def _page_figures(front: Contestant, seconds: float, requests: list, size: int, wire: int) -> Figures:
    figures = _over_http(front, seconds, requests)
    return figures | {
        "pages": figures["rate"] / size,
        "size": size,
        "kb_page": wire / 1000,
        "cpu_page": figures["cpu_us"] * size / 1000,
        "refused_share": 100 * figures["refused"] / figures["requests"],
    }


def until_stable(port: int, seconds: float, outcome: Outcome) -> None:
    """Load the page until its bytes stay the same for so long, a minute at most, and note how long that took."""
    began = same_since = time.monotonic()
    first = wire = load.Browser(port).load().wire
    while (now := time.monotonic()) - same_since < seconds and now - began < 60:
        time.sleep(0.25)
        latest = load.Browser(port).load().wire
        if abs(latest - wire) > 100:  # the page itself varies by some bytes: dates, names of workers
            wire, same_since = latest, time.monotonic()
    outcome.notes.append(
        f"Warmed up by loading the page until its size stayed the same for {seconds:g} s: from "
        f"{first / 1000:,.0f} KB to {wire / 1000:,.0f} KB, {time.monotonic() - began:.0f} s in all."
    )


def _compare(port: int, uncached: Path, outcome: Outcome) -> None:
    """See that every asset of the app is what an uncached worker gives, for each encoding."""
    accepted = (None, "identity", "gzip", "deflate", "br", "zstd", load.ENCODINGS)
    replies = load.Browser(port).load().replies
    paths = [path for path in replies if path != "/" and not path.startswith("/lib/shiny-sticky-")]
    used: dict[str, int] = {}
    for path in paths:
        right = load.fetch(uncached, path)
        for encoding in accepted:
            reply = load.fetch(port, path, {"Accept-Encoding": encoding} if encoding else {})
            came = reply.headers.get("content-encoding", "none")
            if encoding == load.ENCODINGS:
                used[came] = used.get(came, 0) + 1
            if (reply.status, reply.body) != (right.status, right.body):
                outcome.problems.append(f"{path} differs for Accept-Encoding {encoding}")
            if came != "none" and came not in (encoding or ""):
                outcome.problems.append(f"{path} came as {came} for Accept-Encoding {encoding}")
    outcome.notes.append(
        f"{len(paths)} assets, each asked for with {len(accepted)} values of Accept-Encoding (none among them), "
        f"compared with an uncached worker's: {len(outcome.problems)} differ. A browser gets "
        + ", ".join(f"{count} as {name}" for name, count in used.items())
        + "."
    )


def warm(bench: Bench) -> Outcome:
    """A browser that comes back."""
    outcome = Outcome()
    for front in bench.demo(outcome)[1]:
        bench.say(front.key)
        browser = load.Browser(front.port).load()
        first = (browser.requests, browser.wire)
        browser.load()
        outcome.rounds[front.key] = [
            {
                "first": first[0],
                "first_kb": first[1] / 1000,
                "second": browser.requests - first[0],
                "second_kb": (browser.wire - first[1]) / 1000,
            }
        ]
    return outcome


def sessions(bench: Bench) -> Outcome:
    """New Shiny sessions."""
    outcome = Outcome()

    def figures(front: Contestant) -> Figures:
        before = cpu_seconds(front.pids())
        found = uvloop.run(load.shiny_sessions(front.port, 8 * bench.seconds))
        cpu = cpu_seconds(front.pids()) - before
        return found | {
            "sessions_rate": found["sessions"] / found["seconds"],
            # Where nothing stands in front, the processes are the workers themselves.
            **({} if front.key == "uvicorn" else {"cpu_session": 1000 * cpu / max(1, found["sessions"])}),
        }

    fronts = bench.demo(outcome)[1]
    for front in fronts:
        uvloop.run(load.shiny_sessions(front.port, 0.3))
    bench.alternate(outcome, {front.key: lambda front=front: figures(front) for front in fronts}, most=9)
    return outcome


def stays(bench: Bench) -> Outcome:
    """Whether a session's requests reach its process."""
    outcome = Outcome()
    # With its page and websocket a session makes 13 requests: no multiple of what round robin goes by.
    sessions, requests = (2, 11) if bench.smoke else (20, 11)
    for front in bench.demo(outcome)[1]:
        bench.say(front.key)
        wrong, pids = _astray(front.port, sessions, requests, cookies=True)
        blocked, pids_blocked = _astray(front.port, sessions, requests, cookies=False)
        outcome.rounds[front.key] = [
            {
                "tried": sessions * requests,
                "wrong": 100 * wrong / (sessions * requests),
                "used": pids,
                "blocked": 100 * blocked / (sessions * requests),
                "used_blocked": pids_blocked,
            }
        ]
    return outcome


def _astray(port: int, sessions: int, requests: int, *, cookies: bool) -> tuple[int, int]:
    """Open Shiny sessions, and let each ask for its own route; each in a browser of its own.

    Returns:
        How many of the requests did not reach the session's process, and how many processes had sessions.
    """
    wrong, pids = 0, set()
    for _ in range(sessions):
        tab = ShinySession(port, cookies={} if cookies else None, outputs=("worker",))
        try:
            tab.open()
            told = tab.until(lambda tab=tab: tab.custom.get("sticky-test"), "the session's route")
            pids.add(told["pid"])
            for number in range(requests):
                reply = tab.try_(f"{told['url']}&n={number}" if "?" in told["url"] else told["url"])
                wrong += reply.status != 200 or reply.json["pid"] != told["pid"]
        except SessionError:
            wrong += requests
        finally:
            tab.close()
    return wrong, len(pids)


# --- 6, 7: websockets


def echoes(bench: Bench) -> Outcome:
    """Messages over websockets."""
    outcome = Outcome()

    async def figures(front: Contestant, cookies: list[str]) -> Figures:
        tabs = await load.open_tabs(front.port, cookies, 16)
        await load.echo_for(tabs, 0.2)
        for tab in tabs:
            tab.echoes.clear()
        before, began = cpu_seconds(front.pids()), time.monotonic()
        await load.echo_for(tabs, bench.seconds)
        elapsed, cpu = time.monotonic() - began, cpu_seconds(front.pids()) - before
        times = sorted(echo for tab in tabs for echo in tab.echoes)
        for tab in tabs:
            tab.close()
        return {
            "p50_us": 1e6 * times[len(times) // 2],
            "p99_us": 1e6 * times[int(len(times) * 0.99)],
            "messages_rate": len(times) / elapsed,
            "cpu_message": 1e6 * cpu / len(times),
        }

    with backends.echo(WORKERS) as sockets, bench.running(FRONTS, sockets, outcome) as fronts:
        cookies = {front.key: list(front.named().values()) for front in fronts}
        bench.alternate(
            outcome,
            {front.key: lambda front=front: uvloop.run(figures(front, cookies[front.key])) for front in fronts},
        )
    return outcome


def idle(bench: Bench) -> Outcome:
    """Many websockets that do nothing."""
    outcome = Outcome()
    count, hold = (200, 0.5) if bench.smoke else (4000, 10)

    async def held(front: Contestant, cookies: list[str]) -> Figures:
        before = pss(front.pids())
        tabs = await load.open_tabs(front.port, cookies, count)
        await asyncio.sleep(hold)
        memory = pss(front.pids()) - before
        alive = await load.still_echo(tabs)
        for tab in tabs:
            tab.close()
        return {"opened": len(tabs), "held": alive, "kb_socket": memory / max(1, len(tabs)) / 1000}

    def figures(kind: type[Contestant], sockets: list[Path]) -> Figures:
        # A front anew each time: none gives memory back to the system.
        with kind(sockets).running() as front:
            return uvloop.run(held(front, list(front.named().values())))

    with backends.echo(WORKERS) as sockets:
        with bench.running((Ours, Plain, HAProxy), sockets, outcome) as fronts:
            kinds = [type(front) for front in fronts]
        bench.alternate(outcome, {kind.key: lambda kind=kind: figures(kind, sockets) for kind in kinds}, most=5)
    return outcome


# --- 8: the launcher


def starts(bench: Bench) -> Outcome:
    """The launcher's start, and its workers' memory."""
    outcome = Outcome()
    modes = {"forked": {"preload": True}, "spawned": {"preload": False}}
    if "preload" not in AppSettings.model_fields:
        modes = {"spawned": {}}
        outcome.notes.append("This version has no `preload`; all workers are spawned.")
    science = Path(__file__).with_name("science.py")
    apps = {"demo": ("the demo", APP), "science": ("pandas, matplotlib", science)}
    counts = (1, 4) if bench.smoke else (1, 4, 8)
    once = {}
    for app, (title, file) in list(apps.items())[: 1 if bench.smoke else 2]:
        for mode, settings in modes.items():
            outcome.titles[f"{app}-{mode}"] = f"{title}, {mode}"
            once[f"{app}-{mode}"] = lambda file=file, settings=settings: _all_sizes(file, settings, counts)
    bench.alternate(outcome, once, most=5)
    return outcome


def _all_sizes(file: Path, settings: dict, counts: tuple[int, ...]) -> Figures:
    figures: Figures = {}
    for count in counts:
        seconds, answered, memory = _start(file, settings, count)
        figures |= {f"ready{count}": seconds, f"answer{count}": answered, f"mb{count}": memory / 1e6}
    for count in counts[1:]:
        figures[f"ratio{count}"] = figures[f"ready{count}"] / figures["ready1"]
    most = counts[-1]
    return figures | {"further": (figures[f"mb{most}"] - figures["mb1"]) / (most - 1)}


def _start(file: Path, settings: dict, workers: int) -> tuple[float, float, float]:
    """Start the launcher.

    Returns:
        Seconds until all workers are ready, seconds until the page is there, and bytes of the workers' memory
        (PSS), with that of the process that they were forked off.
    """
    with Site({"app": {"target": str(file), "workers": workers, **settings}}) as site:
        began = time.perf_counter()
        site.launcher = subprocess.Popen(
            [sys.executable, str(APP.parent.parent / "launcher.py"), str(site.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=site.env,
        )
        said = []
        for line in site.launcher.stdout:
            said.append(line)
            if " is at http://" in line:
                break
        else:
            raise RuntimeError(f"the launcher does not start: {''.join(said)}")
        ready = time.perf_counter() - began
        while load.fetch(site.port, "/").status != 200:
            time.sleep(0.005)
        answered = time.perf_counter() - began
        time.sleep(1)  # let them settle
        pids = {int(file.read_text()) for file in site.run_dir.glob("app*.pid")}
        pids |= set(tree(site.launcher.pid)) - set(tree(site.nginx_pid())) - {site.launcher.pid}
        return ready, answered, pss(pids)
