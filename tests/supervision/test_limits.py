"""What a worker may take at most is kept by cgroups, where the launcher may make them; else it says so.

`scripts/test-limits` runs these in a Linux of its own, whatever the machine's cgroups are like.
"""

import contextlib
import http.client
import subprocess
from pathlib import Path

import pytest

from shiny_sticky.settings.process_model import LimitSettings
from shiny_sticky.settings.values import size_in_words
from shiny_sticky.supervision.cgroups import Groups
from support.echo_site import echo_site
from support.waiting import until

# /?eat=100 keeps 100 MB for ever, /?spin computes in a program of its own, which ends with the worker.
HUNGRY = """
import subprocess
EATEN, answer_plainly = [], answer
async def answer(scope, receive, send):
    asked = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    if "eat" in asked:
        EATEN.append(b"x" * (int(asked["eat"]) << 20))
    if "spin" in asked:
        subprocess.Popen([os.sys.executable, "-c", "while True: pass"])
    await answer_plainly(scope, receive, send)
"""


@pytest.fixture(scope="module")
def unavailable():
    """Why limits cannot be kept on this machine; empty if they can."""
    problems = []
    groups = Groups(Path(__file__), problems.append)
    with subprocess.Popen(["sleep", "60"]) as process:
        group = groups.limit("probe1.aaaa", process.pid, LimitSettings(memory="1GB", cpu=1))
        process.kill()
        process.wait()
    if group is not None:
        group.remove()
        groups.close()
    return "".join(problems)


@pytest.fixture
def hungry_site(site_of, unavailable):
    """A factory of sites with limits."""
    if unavailable:
        pytest.skip(unavailable)
    return lambda **limits: echo_site(site_of, HUNGRY, app={"limits": limits})


def group_of(pid: int) -> Path:
    """The cgroup of a process."""
    (own,) = [line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")]
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return Path(next(mount[1] for mount in mounts if mount[2] == "cgroup2") + own[3:])


def test_a_worker_beyond_its_memory_is_ended_that_is_told_and_others_serve_on(hungry_site):
    site = hungry_site(memory="300MB")
    assert site.ask("/?eat=50", cookie="sticky=app1").status == 200
    beside, pid = site.pid("app1"), site.pid("app2")
    with contextlib.suppress(http.client.HTTPException, OSError):
        site.ask("/?eat=400", cookie="sticky=app2", method="POST")
    assert len(site.says(rf"app2 \(pid {pid}\) was ended by its memory limit of 300 MB \(limits.memory\)")) == 1
    assert site.back("app2", pid)
    assert site.pid("app1") == beside
    assert site.ask(cookie="sticky=app1").worker == "app1"


def test_memory_of_the_programs_that_a_worker_starts_counts(hungry_site):
    site = hungry_site(memory="300MB")
    site.ask("/?spin", cookie="sticky=app1")
    group = group_of(site.pid("app1"))
    assert group.name == site.incarnation("app1")
    assert len((group / "cgroup.procs").read_text().split()) == 2


def test_a_worker_gets_no_more_cores_than_it_may(hungry_site):
    site = hungry_site(cpu=0.1)
    site.ask("/?spin", cookie="sticky=app1")
    stat = group_of(site.pid("app1")) / "cpu.stat"
    until(lambda: dict(line.split() for line in stat.read_text().splitlines())["nr_throttled"] != "0", "it waits")
    assert stat.with_name("cpu.max").read_text().split() == ["10000", "100000"]


def test_the_groups_of_processes_that_have_ended_are_removed(hungry_site):
    site = hungry_site(memory="300MB", cpu=2)
    folder = group_of(site.pid("app1")).parent
    site.back("app1", site.kill("app1"))
    site.reload()
    until(lambda: len(list(folder.glob("*/"))) == 2, "those of the two that serve are left")
    assert {group.name for group in folder.glob("*/")} == {site.incarnation("app1"), site.incarnation("app2")}
    assert site.stop() == 0
    assert not folder.exists()


def test_where_limits_cannot_be_kept_that_is_said_once_and_the_workers_serve(site_of, unavailable):
    if not unavailable:
        pytest.skip("here they are kept")
    site = echo_site(site_of, app={"limits": {"memory": "300MB", "cpu": 1.5}})
    assert site.ask().status == 200
    site.back("app1", site.kill("app1"))
    site.says("app1 is back")
    (told,) = site.said("limits.memory and limits.cpu cannot be kept: ")
    assert told.endswith(".")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1 << 30, "1 GB"),
        (3 << 29, "1.5 GB"),
        (300 << 20, "300 MB"),
        (2 << 40, "2 TB"),
        (1 << 10, "1 KB"),
        (0, "0 bytes"),
    ],
)
def test_sizes_are_told_as_they_are_set(size, words):
    assert size_in_words(size) == words
