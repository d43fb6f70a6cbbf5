"""After a storm of kills, in any order and at any moment, everything serves, and a stop leaves nothing over."""

import contextlib
import os
import random
import signal
import time

import psutil
import pytest

from support.echo_site import echo_site, write_app
from support.real_site import Site, running, until

# How long, in seconds, and the seed: STORM_SEED makes the same storm again, as far as processes allow.
SECONDS = float(os.environ.get("STORM_SECONDS", "60"))
SEED = int(os.environ.get("STORM_SEED") or int.from_bytes(os.urandom(4), "big"))


def kill(pid: int) -> None:
    """Kill a process that may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_worker(site: Site, chance: random.Random) -> None:
    if pids := list(site.incarnations().values()):
        kill(chance.choice(pids))


def kill_parent(site: Site, chance: random.Random) -> None:
    for pid in site.parents():
        kill(pid)


def kill_nginx_master(site: Site, chance: random.Random) -> None:
    if pid := site.nginx_pid():
        site.remember_processes()
        kill(pid)


def kill_nginx_worker(site: Site, chance: random.Random) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(site.nginx_pid()).children() if site.nginx_pid() else []
        for child in chance.sample(children, min(1, len(children))):
            kill(child.pid)


def failing_deploy(site: Site, chance: random.Random) -> None:
    write_app(site, "import numpie")
    with pytest.raises(AssertionError, match=r"numpie|under way"):
        site.reload()
    write_app(site)


def kill_launcher(site: Site, chance: random.Random) -> None:
    """With what it takes down in the same moment, or a moment later; then another is started."""
    site.remember_processes()
    site.kill_launcher()
    for also in chance.sample([kill_worker, kill_nginx_master, kill_nginx_worker], chance.randrange(3)):
        also(site, chance)
    site.start()


ATTACKS = [
    kill_worker,
    kill_worker,
    kill_parent,
    kill_nginx_master,
    kill_nginx_worker,
    failing_deploy,
    kill_launcher,
]


@pytest.mark.slow
def test_a_storm_of_kills_leaves_a_site_that_serves_and_nothing_else(site_of):
    chance = random.Random(SEED)
    site = echo_site(site_of, workers=3)
    deadline = time.monotonic() + SECONDS
    done = []
    while time.monotonic() < deadline:
        attack = chance.choice(ATTACKS)
        done.append(attack.__name__)
        attack(site, chance)
        time.sleep(chance.choice((0.0, 0.05, 0.3, 1.0)))  # not to wait for something: a storm has pauses
    print(f"seed {SEED}: {len(done)} attacks: {done}")

    until(
        lambda: running(site.nginx_pid()),
        "a killed nginx is back: what its workers took until then may be lost",
        180,
    )
    for worker in site.workers():
        until(lambda worker=worker: serves(site, worker), f"{worker} serves", 180)
    write_app(site, version=2)
    until(lambda: reloads(site), "a deploy works", 180)
    assert {site.ask(cookie=f"sticky={worker}").json["version"] for worker in site.workers()} == {2}
    until(
        lambda: set(site.incarnations()) == {site.incarnation(worker) for worker in site.workers()},
        "all others left",
    )
    known = {site.launcher.pid, site.nginx_pid(), *site.incarnations().values(), *site.parents()}
    until(lambda: strangers(site, known) == [], "nothing is left of earlier processes")

    assert site.stop() == 0
    site.check_nothing_left()


def serves(site: Site, worker: str) -> bool:
    with contextlib.suppress(OSError):
        reply = site.ask(cookie=f"sticky={worker}")
        return reply.status == 200 and reply.worker == worker
    return False


def reloads(site: Site) -> bool:
    """Deploy, unless a worker is just being started again."""
    with contextlib.suppress(AssertionError):
        return bool(site.reload())
    return False


def strangers(site: Site, known: set[int]) -> list[psutil.Process]:
    """Processes of the site that are none of these, nor children of one of these."""
    return [one for one in site.processes() if running(one.pid) and known.isdisjoint({one.pid, one.ppid()})]
