"""A restart of the launcher, also with new code of its own, loses no session and no page load; a stop is a stop."""

import configparser
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.copies import copy_project
from support.echo_site import Sessions, echo_site, write_app
from support.load import PageLoads
from support.real_site import ECHO, PATIENCE, ROOT, Site, running, until

UNIT = ROOT / "conf" / "shiny-sticky.service"


def restart(site: Site) -> subprocess.CompletedProcess:
    site.remember_processes()
    return site.command("restart", str(site.config))


def since(site: Site) -> float:
    return site.status()["launcher"]["since"]


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_restart_keeps_sessions_page_loads_nginx_and_the_launchers_pid(site_of, preload):
    site = echo_site(site_of, app={"preload": preload})
    old = {name: site.pid(name) for name in site.workers()}
    nginx = site.nginx_pid()
    sessions = Sessions(site, site.workers())
    with PageLoads(site) as load:
        for _ in range(2):
            done = restart(site)
            assert (done.returncode, done.stdout) == (
                0,
                f"A new launcher serves (pid {site.launcher.pid}); the sessions of earlier workers go on\n",
            )
            assert sessions.live()
    assert not load.failures, load
    assert site.launcher.poll() is None
    assert site.status()["launcher"]["pid"] == site.launcher.pid
    assert site.nginx_pid() == nginx
    assert all(running(pid) for pid in old.values()), "their sessions are open"
    for name, pid in old.items():
        new = site.ask(cookie=f"sticky={name}").json["pid"]
        assert new == site.pid(name) != pid, "page loads get new processes"
    assert sessions.live()
    sessions.close()
    until(lambda: not any(running(pid) for pid in old.values()), "the old ones leave with their last sessions")
    children = psutil.Process(site.launcher.pid).children
    until(lambda: all(running(child.pid) for child in children()), "none is left unburied")
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_restart_brings_new_code_of_the_launcher_itself(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}})
    site.start(program=[sys.executable, str(copy_project(site.folder / "project"))])
    sessions = Sessions(site, ["app1", "app2"])
    file = site.folder / "project" / "shiny_sticky" / "supervision" / "summary.py"
    file.write_text(file.read_text().replace("is at {", "can be found at {"))
    assert restart(site).returncode == 0
    assert site.says(f"app can be found at http://127.0.0.1:{site.port}/")
    assert sessions.live()
    sessions.close()


def break_launcher(site: Site) -> str:
    (site.folder / "project" / "shiny_sticky" / "supervision" / "site.py").write_text("import numpie\n")
    return "No module named 'numpie'"


def break_settings(site: Site) -> str:
    site.settings["apps"]["app"]["wrokers"] = 3
    site.write()
    return "apps.app.wrokers: unknown key"


def break_app(site: Site) -> str:
    write_app(site, "import pandaz")
    return "No module named 'pandaz'"


def change_what_needs_a_stop(site: Site) -> str:
    site.settings["nginx"]["conf"] = "other.conf"
    site.write()
    return "nginx has changed: that takes a stop and a new start of the launcher"


@pytest.mark.parametrize(
    "harm",
    [
        break_launcher,
        *(
            pytest.param(harm, marks=pytest.mark.slow)
            for harm in (break_settings, break_app, change_what_needs_a_stop)
        ),
    ],
)
def test_a_restart_that_would_fail_is_refused_and_nothing_changes(site_of, harm):
    site = site_of({"app": {"target": "app.py", "workers": 1}})
    write_app(site)
    site.start(program=[sys.executable, str(copy_project(site.folder / "project"))])
    before = since(site), site.pid("app1"), site.nginx_pid()
    says = harm(site)
    failed = site.command("restart", str(site.config)) if harm is not break_settings else None
    if failed is None:  # the command cannot read them either, so it is told over the socket
        with pytest.raises(AssertionError, match=says):
            site.control("POST", "/restart")
    else:
        assert failed.returncode == 1
        assert says in failed.stderr
    assert (since(site), site.pid("app1"), site.nginx_pid()) == before
    assert site.ask().status == 200


@pytest.mark.slow
def test_a_new_launcher_that_fails_all_the_same_leaves_the_service_and_the_command_says_so(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}})
    program = [sys.executable, str(copy_project(site.folder / "project"))]
    site.start(program=program)
    pids = {name: site.pid(name) for name in site.workers()}
    file = site.folder / "project" / "shiny_sticky" / "supervision" / "leftovers.py"
    good = file.read_text()
    file.write_text(good.replace("def find_orphans", "def lose_orphans") + "\nfind_orphans = None\n")
    failed = restart(site)
    assert failed.returncode == 1
    assert "The new launcher has ended; its output says why. nginx and the workers serve on." in failed.stderr
    assert {name: site.ask(cookie=f"sticky={name}").json["pid"] for name in pids} == pids
    file.write_text(good)
    site.start(program=program)
    assert site.stop() == 0
    site.check_nothing_left()


def test_restart_with_a_name_is_still_a_workers(site_of):
    site = echo_site(site_of)
    before, pids = since(site), {name: site.pid(name) for name in site.workers()}
    done = site.command("restart", "app1", str(site.config))
    assert done.returncode == 0
    assert done.stdout.startswith("app1 is app1.")
    assert site.pid("app1") != pids["app1"]
    assert (since(site), site.pid("app2")) == (before, pids["app2"])


@pytest.mark.parametrize(
    "attempt", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.slow), 2]
)
def test_a_stop_during_a_handover_is_a_stop(site_of, attempt):
    site = echo_site(site_of)
    site.remember_processes()
    site.control("POST", "/restart")
    if attempt:
        until(lambda: site.said("The launcher starts anew"), "it does")
    if attempt > 1:
        until(lambda: len(site.said("Starting 2 workers")) == 2, "the new one starts its workers")
    assert site.stop() == 0
    site.check_nothing_left()


# --- systemd


def service() -> dict[str, str]:
    """What the unit says of the service; of a key that stands there twice, what it says last."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(UNIT)
    return dict(unit["Service"])


def test_systemds_restart_ends_the_launcher_alone_and_the_next_one_takes_over(site_of):
    """systemd sends RestartKillSignal to stop a service for that; with KillMode=process to the launcher alone."""
    assert service()["KillMode"] == "process"
    site = echo_site(site_of)
    sessions = Sessions(site, site.workers())
    with PageLoads(site) as load:
        assert site.stop(signal.Signals[service()["RestartKillSignal"]]) == 0
        assert sessions.live()
        site.start()
        assert sessions.live()
    assert not load.failures, load
    sessions.close()


def test_systemds_stop_ends_all(site_of):
    site = echo_site(site_of)
    assert site.stop(signal.Signals[service().get("KillSignal", "SIGTERM")]) == 0
    site.check_nothing_left()


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="it is systemd that reads the unit"
)


def analyzed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd says of the unit, by the name of a user that there is and with a program that can be run."""
    copy = folder / "daemon.service"
    copy.write_text(UNIT.read_text().replace("/srv/%N/.venv/bin/shiny-sticky", sys.executable))
    return subprocess.run(["systemd-analyze", *arguments, copy], capture_output=True, text=True, timeout=PATIENCE)


@needs_systemd
def test_systemd_understands_the_unit(tmp_path):
    said = analyzed(tmp_path, "verify", "--man=no").stderr
    assert "daemon.service" not in said, said


@needs_systemd
def test_systemd_finds_the_unit_closed_to_what_it_needs_not(tmp_path):
    said = analyzed(tmp_path, "security", "--offline=true", "--threshold=20")
    if "unrecognized option" in said.stderr:
        pytest.skip("this systemd can tell of services only that it runs")
    assert said.returncode == 0, said.stdout[-200:]
