"""An app that writes what it likes into its pid files, and a run_dir with things in it that nobody expects."""

import os
import subprocess

import pytest

from support.echo_site import echo_site
from support.other_user import hostile_site, needs_root, program
from support.real_site import ECHO, Site, running, until

# A worker writes what a request's query says into the pid files that it has open.
FORGER = """
import glob
answer_before = answer
async def answer(scope, receive, send):
    asked = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True, encoding="latin-1"))
    if "forge" in asked:
        ME["forged"] = [fd for fd in map(int, os.listdir("/proc/self/fd")) if pid_file(fd)]
        for descriptor in ME["forged"]:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, asked["forge"].encode("latin-1"), 0)
    await answer_before(scope, receive, send)
def pid_file(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").endswith(".pid")
    except OSError:
        return False
"""


@pytest.fixture
def victim():
    """A process that is no worker, of whoever runs the tests."""
    with subprocess.Popen(["sleep", "3600"]) as process:
        yield process
        process.kill()


def take_over(site: Site, forged: str, **options) -> None:
    """Let a worker forge its pid file, and a new launcher take over from one that was killed."""
    old = site.pid("app1")
    reply = site.ask(f"/?forge={forged}")
    assert reply.json["forged"], "it has its pid file open"
    site.kill_launcher()
    site.start(**options)
    assert site.says(rf"app1\.\w+\.pid says .*, but the process that has locked it is {old}$")
    assert site.says(rf"app1\.\w+ \(pid {old}\) has left"), "the worker is the one that leaves"
    assert not running(old)
    assert site.ask().worker == "app1"
    assert site.stop() == 0
    site.check_nothing_left()


@pytest.mark.parametrize(
    "forged",
    ["rubbish", *(pytest.param(text, marks=pytest.mark.slow) for text in ("%FF%00%FE", "-1", "1", "9" * 23, ""))],
)
def test_what_is_written_in_a_pid_file_ends_nobody_and_stops_no_start(site_of, forged):
    take_over(echo_site(site_of, FORGER, workers=1), forged)


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_whom_a_pid_file_names_is_not_signalled(site_of, victim, preload):
    take_over(echo_site(site_of, FORGER, workers=1, app={"preload": preload}), str(victim.pid))
    assert running(victim.pid)


@needs_root
def test_whom_another_users_app_names_in_its_pid_file_is_not_signalled_by_root(site_of, victim):
    site = hostile_site(site_of, FORGER)
    site.start(program=program(site))
    take_over(site, str(victim.pid), program=program(site))
    assert running(victim.pid)


def test_what_a_worker_has_forked_is_not_taken_for_it(site_of):
    """It has the pid file open as well, and lives on when the worker is dead."""
    child = "\nif pid := os.fork():\n    ME['child'] = pid\nelse:\n    while True: time.sleep(3600)\n"
    code = "async def app(*args, app=app):\n    'child' in ME or become_two()\n    await app(*args)\n"
    code += f"def become_two():{child.replace(chr(10), chr(10) + '    ')}\n"
    site = echo_site(site_of, code, workers=1)
    reply = site.ask()
    child = reply.json["child"]
    site.kill_launcher()
    os.kill(reply.json["pid"], 9)
    until(lambda: not running(reply.json["pid"]), "the worker is dead")
    assert running(child)
    site.start()
    assert not site.said("of an earlier launcher")
    os.kill(child, 9)


def test_a_running_launcher_is_named_by_the_kernel(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    (site.run_dir / "launcher.pid").write_bytes(b"\xff1")
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"is in use by a running launcher (pid {site.launcher.pid})" in failed.stderr


def test_what_nobody_expects_in_run_dir_stops_no_start(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}})
    kept = site.folder / "kept"
    kept.write_text("1")
    site.run_dir.mkdir(mode=0o700)
    for name in ("app1.aaaa.pid", "app1.bbbb.sock", "app-cccc.pid", "compressed/folder", "dependencies/app/folder"):
        (site.run_dir / name / "within").mkdir(parents=True)
    os.mkfifo(site.run_dir / "app1.dddd.pid")
    os.mkfifo(site.run_dir / "compressed" / "fifo")
    for name in ("app1.eeee.pid", "app1.ffff.sock", "compressed/link", "dependencies/file", "announcement"):
        (site.run_dir / name).symlink_to(kept)
    (site.run_dir / "app-gggg.pid").write_bytes(b"\xff" * 100)
    for _ in range(2):
        site.start()
        assert site.said(r"app1\.aaaa\.pid is left alone: Is a directory")
        assert site.ask().worker == "app1"
        assert site.stop() == 0
    assert kept.read_text() == "1"


@pytest.mark.parametrize("name", ["launcher.pid", "app1.sock", "control.sock"])
def test_what_stands_in_the_place_of_a_file_that_is_needed_is_named(site_of, name):
    site = site_of({"app": {"target": ECHO, "workers": 1}})
    (site.run_dir / name / "within").mkdir(parents=True)
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"{site.run_dir}/{name}" in failed.stderr and "directory" in failed.stderr
    assert "Traceback" not in failed.stderr
