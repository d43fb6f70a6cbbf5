"""The service that docs/service.md installs, under a systemd that has just booted."""

import contextlib
import http.client
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import websocket

from support.answering import AnsweringWebSocket
from support.echo_site import ECHO_CODE, Sessions
from support.load import PageLoads
from support.machine import Machine, why_not
from support.real_site import ROOT, Reply, until

PAGE = (ROOT / "docs" / "service.md").read_text()
UNIT = ROOT / "conf" / "shiny-sticky.service"
CONFIG = "/srv/dashboard/config.yaml"
WORKERS = [f"dashboard{number}" for number in range(1, 5)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "a machine can be booted"),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


INSTALL_NGINX, MAKE_FOLDER, COPY_APP, START, EVERY_DAY, STOP, EDIT = blocks("sh")
SETTINGS, TWO_APPS = blocks("yaml")


class Service:
    """The service on a machine, and a client for it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What a person types in the checkout."""
        return self.machine.run(script, check=check, folder="/checkout")

    def write(self, place: str, text: str) -> None:
        self.machine.path(place).write_text(text)

    def write_app(self, code: str = "", version: int = 1) -> None:
        self.write("/srv/dashboard/app.py", f'{ECHO_CODE}\nME["version"] = {version}\n{code}\n')

    def show(self, name: str) -> str:
        """What systemd knows of the service."""
        return self.run(f"systemctl show -P {name} dashboard").stdout.strip()

    def processes(self) -> list[str]:
        """Everything that the service's user runs."""
        return self.run("pgrep -u dashboard -l", check=False).stdout.splitlines()

    def ask(self, cookie: str | None = None) -> Reply:
        with self.machine.network(), contextlib.closing(http.client.HTTPConnection("127.0.0.1")) as connection:
            connection.request("GET", "/", headers={} if cookie is None else {"Cookie": cookie})
            return Reply(connection.getresponse())

    def version(self) -> int:
        return self.ask().json["version"]

    @contextlib.contextmanager
    def nobody_is_thrown_out(self) -> Iterator[None]:
        """Sessions that are open go on, and pages are loaded all the time."""
        sessions = Sessions(self, WORKERS)
        with PageLoads(self, (None, *(f"sticky={name}" for name in WORKERS)), rate=20) as load:
            yield
            assert sessions.live()
        assert not load.failures, load
        sessions.close()

    def websocket(self, cookie: str) -> websocket.WebSocket:
        with self.machine.network():
            return websocket.create_connection(
                "ws://127.0.0.1/ws", cookie=cookie, timeout=60, class_=AnsweringWebSocket
            )


def install(service: Service, wheel: str) -> None:
    """As the page says, but that the packages come from this machine rather than from afar."""
    assert service.run("command -v nginx"), INSTALL_NGINX
    pip = "/srv/dashboard/.venv/bin/pip install ."
    assert pip in MAKE_FOLDER
    service.run(MAKE_FOLDER.replace(f"sudo {pip}", f"{pip[:-1]} -q --no-deps --no-index /wheel/{wheel}"))
    library = f"/srv/dashboard/.venv/lib/python3.{sys.version_info[1]}/site-packages"
    service.write(f"{library}/others.pth", "/packages\n")
    service.run("mkdir ~/dashboard")
    service.write("/root/dashboard/app.py", "")
    service.run(COPY_APP)
    service.write_app()
    service.write(CONFIG, SETTINGS)
    started = service.run(START, check=False)
    assert started.returncode == 0, started.stderr + service.run("journalctl -u dashboard").stdout


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    with Machine({"/checkout": ROOT, "/wheel": folder, "/packages": packages}) as machine:
        found = Service(machine)
        install(found, wheel.name)
        yield found


def test_it_serves_at_port_80_as_a_user_without_rights_and_says_so(service):
    assert service.run("systemctl is-active dashboard").stdout == "active\n"
    assert service.run("systemctl is-enabled dashboard").stdout == "enabled\n"
    assert service.show("StatusText") == "4 of 4 workers, 0 sessions"
    uid = int(service.run("id -u dashboard").stdout)
    assert service.ask(cookie="sticky=dashboard3").json["uid"] == uid != 0


def test_every_command_of_its_every_day_runs(service):
    said = service.run(EVERY_DAY).stdout
    assert "Active: active (running)" in said
    assert "/srv/dashboard/config.yaml: good" in said
    assert "serving" in said


def test_the_app_can_write_its_temporary_files_and_has_no_rights_beyond(service):
    code = """
import re, tempfile
ME['rights'] = re.findall(r'Cap(?:Inh|Prm|Eff|Amb):\\s*(\\w+)', open('/proc/self/status').read())
ME['temporary'] = tempfile.gettempdir()
try:
    open(__file__, 'a')
except OSError as error:
    ME['refused'] = error.strerror
"""
    service.write_app(code)
    service.run("systemctl reload dashboard")
    seen = service.ask().json
    assert {int(rights, 16) for rights in seen["rights"]} == {0}, "the launcher may open port 80, the app may not"
    assert (seen["temporary"], seen["refused"]) == ("/var/lib/dashboard/tmp", "Permission denied")


def test_a_reload_is_a_deploy_and_throws_nobody_out(service):
    with service.nobody_is_thrown_out():
        service.write_app(version=2)
        service.run("systemctl reload dashboard")
        assert service.version() == 2


def test_a_reload_fails_if_the_deploy_does_and_what_served_serves_on(service):
    version = service.version()
    with service.nobody_is_thrown_out():
        service.write_app("import numpie")
        failed = service.run("systemctl reload dashboard", check=False)
        assert failed.returncode == 1
        assert service.show("ActiveState") == "active"
        assert service.show("StatusText").endswith("; the last deploy has failed")
        assert "No module named 'numpie'" in service.run("journalctl -u dashboard -n 40").stdout
        assert service.version() == version
    service.write_app(version=version)
    service.run("systemctl reload dashboard")


def test_a_restart_brings_a_new_launcher_and_throws_nobody_out(service):
    old = service.show("MainPID")
    with service.nobody_is_thrown_out():
        service.run("systemctl restart dashboard")
        assert service.show("MainPID") != old


def test_a_killed_launcher_is_replaced_and_throws_nobody_out(service):
    old = service.show("MainPID")
    with service.nobody_is_thrown_out():
        service.run("systemctl kill --signal=KILL --kill-whom=main dashboard")
        until(lambda: service.show("MainPID") not in ("0", old), "a new launcher")
        until(lambda: service.show("ActiveState") == "active", "it serves")


def test_a_launcher_that_stands_still_is_replaced_and_throws_nobody_out(service):
    service.run("mkdir -p /run/systemd/system/dashboard.service.d")
    service.write(
        "/run/systemd/system/dashboard.service.d/hasty.conf", "[Service]\nWatchdogSec=5\nTimeoutAbortSec=1\n"
    )
    service.run("systemctl daemon-reload; systemctl restart dashboard")
    old = service.show("MainPID")
    with service.nobody_is_thrown_out():
        service.run(f"kill -STOP {old}")
        until(lambda: service.show("MainPID") not in ("0", old), "a new launcher")
        until(lambda: service.show("ActiveState") == "active", "it serves")
    service.run("rm -r /run/systemd/system/dashboard.service.d; systemctl daemon-reload")
    service.run("systemctl restart dashboard")


def test_a_mistake_in_the_settings_is_not_tried_again_and_throws_nobody_out(service):
    with service.nobody_is_thrown_out():
        service.write(CONFIG, SETTINGS.replace("workers", "wrokers"))
        assert service.run("systemctl restart dashboard", check=False).returncode == 1
        until(lambda: service.show("ActiveState") == "failed", "it is failed")
        time.sleep(float(service.show("RestartUSec").rstrip("s")) + 1)  # as long as a next try would take to come
        assert (service.show("ActiveState"), service.show("NRestarts")) == ("failed", "0")
        assert 'did you mean "workers"' in service.run("journalctl -u dashboard -n 20").stdout
        service.write(CONFIG, SETTINGS)
        service.run("systemctl start dashboard")
        assert service.show("StatusText").startswith("4 of 4 workers")


def test_a_second_app_comes_with_a_reload(service):
    service.run("mkdir /srv/dashboard/stock; cp /srv/dashboard/app.py /srv/dashboard/stock/")
    service.run("ln -s ../.venv /srv/dashboard/stock/venv")
    with service.nobody_is_thrown_out():
        service.write(CONFIG, TWO_APPS)
        service.run("systemctl reload dashboard")
        with service.machine.network():
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.request("GET", "/stock/")
            assert Reply(connection.getresponse()).worker.startswith("stock")
    service.write(CONFIG, SETTINGS)
    service.run("systemctl reload dashboard")


def test_a_stop_ends_everything_whoever_asks_for_it(service):
    for stop in (STOP, "/srv/dashboard/.venv/bin/shiny-sticky stop /srv/dashboard/config.yaml"):
        service.run(stop)
        until(lambda: service.show("ActiveState") == "inactive", "it is stopped")
        assert service.processes() == []
        assert service.show("Result") == "success"
        service.run("systemctl start dashboard")
        assert service.ask().status == 200
