"""What goes wrong under live sessions and page loads, and what it may cost; `make soak` does it for longer."""

import contextlib
import os
import subprocess

import psutil
import pytest

from support import live
from support.real_site import ECHO, running, until

# One of them at all times; the others take minutes, and do with forty sessions what other tests do with two.
QUICK = live.kill_workers


@pytest.mark.parametrize(
    "do",
    [pytest.param(do, marks=[pytest.mark.slow] * (do is not QUICK), id=do.__name__) for do in live.FAULTS],
)
def test_what_a_fault_costs(do):
    """40 live Shiny sessions and 20 page loads a second; every request is counted."""
    with live.live_site() as site:
        site.start()
        with live.Live(site) as load:
            fault = do(load)
            load.go_on(3)
        lost = live.judge(load, fault)
        assert not lost, f"{load}; lost against the promise: {lost[:5]}"
        assert load.loaded > 40, load
        assert load.tally.tried["update"] > 80, load
        # Everybody is gone: so are the processes that were replaced.
        serving = {site.incarnation(worker) for worker in site.workers()}
        pids = site.incarnations()
        until(lambda: not any(running(pid) for name, pid in pids.items() if name not in serving), "they have left")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said_and_service_goes_on(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}})
    site.run_dir.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", site.run_dir], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        site.start()
        with (site.run_dir / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        old = site.pid("app1")
        site.restart("app1")
        assert site.says(f"app1 .*No space left on device.*{site.run_dir}"), "it is said, and where"
        assert site.ask(cookie="sticky=app1").json["pid"] != old, "the worker is replaced all the same"
        site.kill("app2")
        until(lambda: site.said("app2 is back"), "a crash is made good")
        assert site.ask(cookie="sticky=app2").worker == "app2"
        (site.run_dir / "filler").unlink()
        assert site.stop() == 0
    finally:
        site.__exit__()
        subprocess.run(["umount", site.run_dir], check=True)


def test_too_few_file_descriptors_are_said_and_service_goes_on(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}).start()
    launcher = psutil.Process(site.launcher.pid)
    limits = launcher.rlimit(psutil.RLIMIT_NOFILE)
    launcher.rlimit(psutil.RLIMIT_NOFILE, (launcher.num_fds() - 2, limits[1]))
    old = site.kill("app1")
    until(lambda: site.said("app1 cannot be started: .*Too many open files"), "it is said")
    for _ in range(4):
        assert site.ask(cookie="sticky=app1").worker == "app2"
    launcher.rlimit(psutil.RLIMIT_NOFILE, limits)
    site.back("app1", old)
    assert site.ask(cookie="sticky=app1").worker == "app1"
