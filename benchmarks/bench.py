"""Measure this project against what else there is: ``make bench``.

All contestants by turns, on the same workers, on this machine; results as a table, plots and raw figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shlex
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import contestants
import measure
import report
import scenarios
import sid
import wanted


class Progress:
    """One line that says what goes on: rewritten on a terminal, else printed only when a scenario ends."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Say what it is at."""
        if sys.stderr.isatty():
            print(f"\r\033[K{self._title} ({self.seconds:.0f} s): {text}", end="", file=sys.stderr, flush=True)

    @property
    def seconds(self) -> float:
        """Since its beginning."""
        return time.monotonic() - self._began

    def end(self, text: str) -> None:
        """Say what came out."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(f"{self._title} ({self.seconds:.0f} s): {text}", flush=True)


def _chosen(asked: str | None, parser: argparse.ArgumentParser) -> tuple[wanted.Scenario, ...]:
    """The scenarios that were asked for, by numbers or names; all for None."""
    if asked is None:
        return wanted.ALL
    words = asked.split(",")
    known = {word: scenario for scenario in wanted.ALL for word in (str(scenario.number), scenario.name)}
    if unknown := [word for word in words if word not in known]:
        names = ", ".join(f"{scenario.number} ({scenario.name})" for scenario in wanted.ALL)
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {names}")
    return tuple(scenario for scenario in wanted.ALL if scenario in [known[word] for word in words])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-s", "--scenarios", help="such as 1,2,visitor; the results of others are kept (default: all)"
    )
    parser.add_argument(
        "-r", "--rounds", type=int, default=15, help="of each contestant (default: 15; fewer of long ones)"
    )
    parser.add_argument("-t", "--seconds", type=float, default=0.5, help="of load in a round (default: 0.5)")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument("--smoke", action="store_true", help="a moment each, to see that all of it works")
    parser.add_argument("--report", action="store_true", help="write table and plots anew from results.json")
    options = parser.parse_args()

    raw = options.output / "results.json"
    if options.report:
        report.write(json.loads(raw.read_text()), options.output)
        return 0
    chosen = _chosen(options.scenarios, parser)
    rounds, seconds = (1, 0.3) if options.smoke else (options.rounds, options.seconds)
    sid.download_allowed = not options.smoke

    # Thousands of sockets; and an end by SIGTERM shall end what was started.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    about = measure.machine(contestants.versions())
    about["command"] = f"make bench ARGS={shlex.quote(shlex.join(sys.argv[1:]))}" if sys.argv[1:] else "make bench"
    about["rounds"] = f"{rounds} of {seconds:g} s of load each; where that is too short, fewer and longer"
    outcomes, notes, bad = {}, {}, False
    with contextlib.ExitStack() as stack:
        bench = scenarios.Bench(rounds, seconds, options.smoke, print, stack)
        for scenario in chosen:
            bench.say = progress = Progress(f"{scenario.number}. {scenario.title}")
            try:
                outcome = scenario.measure(bench)
            except Exception:
                traceback.print_exc()
                progress.end("failed")
                bad = True
                continue
            outcomes[str(scenario.number)] = asdict(outcome)
            progress.end(report.figures(scenario, outcome) if options.smoke else report.verdicts(scenario, outcome))
            for text in outcome.problems:
                print(f"   {text}", flush=True)
            notes |= dict.fromkeys(outcome.notes)
            bad |= bool(outcome.problems) or not report.has_figures(outcome)
    if options.smoke:
        print("\n".join(notes))
    if not options.smoke:
        results = {"about": about, "scenarios": outcomes}
        if options.scenarios and raw.exists():  # the others stay as they are
            results = json.loads(raw.read_text())
            for outcome in outcomes.values():
                outcome["notes"].append(
                    f"Measured {about['date']} at commit {about['commit']}: {about['command']}."
                )
            results["scenarios"] |= outcomes
        report.write(results, options.output)
        print(f"Written to {options.output}/README.md")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
