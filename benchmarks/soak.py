"""Ten minutes of faults under live Shiny sessions, with a report: ``make soak``.

The faults are those of tests/support/live.py, one after another, again and again, while 40 sessions (a websocket,
an input every second, an upload every five) and 20 page loads a second go on. In between, the connections of 40
other sessions are cut at random, which count all that goes through. The exit code is 1 if anything was lost that a
fault may not cost.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import live
from support.cut_sessions import cut_at_random
from support.real_site import APPS, Site

# In each round, a few seconds of them.
CUTS = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-s", "--seconds", type=float, default=600, help="how long, at least (default: 600)")
    parser.add_argument("-o", "--output", type=Path, help="write the report there too")
    options = parser.parse_args()

    rows, bad, lost = [], 0, 0
    counting = Site({"app": {"target": str(APPS / "counting.py"), "workers": 4}})
    with live.live_site() as site, counting:
        site.start()
        counting.start()
        with live.Live(site) as load:
            began = time.monotonic()
            while time.monotonic() - began < options.seconds:
                for do in live.FAULTS:
                    load.losses.clear()
                    pages, began_fault = load.loaded, time.monotonic()
                    messages = load.tally.tried.total()
                    fault = do(load)
                    load.go_on(3)
                    against = live.judge(load, fault)
                    bad += len(against)
                    lost += len(load.losses)
                    rows.append(
                        f"| {do.__doc__.rstrip('.')} | {time.monotonic() - began_fault:.0f} s "
                        f"| {load.tally.tried.total() - messages} | {len(load.lost('session'))} "
                        f"| {len(load.lost('page'))} of {load.loaded - pages} | {len(against)} |"
                    )
                    print(rows[-1], flush=True)
                    for loss in against[:5]:
                        print(f"    {loss}", flush=True)
                load.losses.clear()
                pages, began_fault = load.loaded, time.monotonic()
                counts = cut_at_random(counting.port, CUTS, seed=len(rows))
                against = live.judge(load, live.Fault())
                bad += counts.bad + len(against)
                lost += len(load.losses)
                rows.append(
                    f"| Connections cut at random, {counts.cuts.total()} times "
                    f"| {time.monotonic() - began_fault:.0f} s | {counts.sent + counts.received} "
                    f"| {counts.ended + len(load.lost('session'))} "
                    f"| {len(load.lost('page'))} of {load.loaded - pages} | {counts.bad + len(against)} |"
                )
                print(rows[-1], f"    {counts}", sep="\n", flush=True)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(load.tally.tried.items()))
        summary = (
            f"In {time.monotonic() - began:.0f} s: {load.tally.tried.total()} requests and messages of sessions "
            f"({kinds}), "
            f"{load.loaded} page loads, {lost} losses, {bad} of them against the promise."
        )
    report = "\n".join(
        [
            "| fault | time | requests and messages | session losses | page loads lost | against the promise |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            summary,
        ]
    )
    print("\n" + report)
    if options.output:
        options.output.write_text(report + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
