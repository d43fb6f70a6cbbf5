"""What importing once and forking saves: time until all workers are ready, and memory of each further one.

Forked and spawned are measured in turn, so that whatever else the machine does touches both: medians of all rounds.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from serving import ROOT, Site

DEMO = (
    (ROOT / "app" / "app.py")
    .read_text()
    .replace('Path(__file__).parent / "www"', f"Path({str(ROOT)!r}, 'app/www')")
)
APPS = {"demo": DEMO, "pandas": "import pandas\nimport matplotlib.pyplot\n" + DEMO.replace("from __future__", "# ")}


def start(name: str, workers: int, preload: bool) -> tuple[float, float]:
    """Seconds from the command to all workers ready, and PSS of workers and parent in MB."""
    with Site({"app": {"target": "app.py", "workers": workers, "preload": preload}}) as site:
        (site.folder / "app.py").write_text(APPS[name])
        began = time.monotonic()
        launcher = site.launcher = subprocess.Popen(
            [sys.executable, str(ROOT / "launcher.py"), str(site.config)],
            stdout=subprocess.PIPE,
            text=True,
            env=site.env,
        )
        for line in launcher.stdout:
            if re.search("workers ready after", line):
                break
        else:
            sys.exit("it does not start")
        took = time.monotonic() - began
        for line in launcher.stdout:
            if line.startswith("nginx "):
                break
        for _ in range(4 * workers):  # they have worked a little
            site.ask()
        family = psutil.Process(launcher.pid).children(recursive=True)
        pss = sum(one.memory_full_info().pss for one in family if "/worker" in " ".join(one.cmdline())) / 1e6
        launcher.terminate()
        launcher.wait()
    return took, pss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-r", "--rounds", type=int, default=3, help="default: 3")
    rounds = parser.parse_args().rounds
    print(
        "| app | workers | ready, forked | ready, spawned | PSS in all, forked | spawned |\n"
        "|---|---|---|---|---|---|"
    )
    for name in APPS:
        found: dict[tuple[int, bool], list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for workers in (1, 4, 8):
                for preload in (True, False):
                    found.setdefault((workers, preload), []).append(start(name, workers, preload))
        median = {
            key: [statistics.median(values) for values in zip(*runs, strict=True)] for key, runs in found.items()
        }
        for workers in (1, 4, 8):
            forked, spawned = median[workers, True], median[workers, False]
            print(
                f"| {name} | {workers} | {forked[0]:.2f} s ({forked[0] / median[1, True][0]:.2f}x) "
                f"| {spawned[0]:.2f} s ({spawned[0] / median[1, False][0]:.2f}x) "
                f"| {forked[1]:.0f} MB | {spawned[1]:.0f} MB |"
            )
        further = [(median[8, preload][1] - median[4, preload][1]) / 4 for preload in (True, False)]
        share = f"{further[0] / further[1]:.0%}"
        print(f"A further worker: {further[0]:.1f} MB forked, {further[1]:.1f} MB spawned: {share}\n")


if __name__ == "__main__":
    main()
