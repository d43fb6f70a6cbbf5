"""Whatever a client sends: it gets an answer, by the rule, and nginx and the workers are as they were."""

import os
import re
from pathlib import Path

import pytest

from support.fuzzing import APP, KEPT, Fuzzer
from support.nginx_workers import nginx_workers
from support.real_site import Site

# How long, in seconds, and the seed: the same requests each time in CI, others each time by `make fuzz`.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

# Bytes by which an nginx process may grow from the middle of the run to its end.
GROWTH = 8 << 20

# What nginx writes when the fault is its own. That a process has ended which a client may well name is none.
FAULT = re.compile(r"\[(emerg|alert|crit)\](?!.* failed \(2: No such file)|js exception|exited on signal")


@pytest.mark.slow
def test_nothing_that_a_client_sends_breaks_the_rule_or_the_server():
    with Site({"app": {"target": APP, "workers": 4}}, cache={"paths": [KEPT]}) as site:
        site.start()
        nginx = nginx_workers(site)
        before = (nginx, site.incarnations())
        fuzzer = Fuzzer(site, SEED)

        fuzzer.run(SECONDS / 2)
        middle = [process.memory_info().rss for process in nginx]
        fuzzer.run(SECONDS / 2)
        end = [process.memory_info().rss for process in nginx]

        print(f"seed {SEED}: {dict(sorted(fuzzer.asked.items()))}; nginx {middle} -> {end} bytes")
        assert (nginx_workers(site), site.incarnations()) == before
        assert all(late - early < GROWTH for early, late in zip(middle, end, strict=True)), (middle, end)
        log = Path(site.run_dir / "nginx-error.log").read_text(errors="replace")
        assert not [line for line in log.splitlines() if FAULT.search(line)]
        assert all(fuzzer.asked[f"{kind} 200"] > 10 for kind in ("cookie", "line", "accept"))
