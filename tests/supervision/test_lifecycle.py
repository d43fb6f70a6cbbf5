"""Starting, stopping, crashing: of workers, of nginx, of the launcher."""

import contextlib
import http.client
import os
import pty
import signal
import stat
import subprocess
import sys
import threading

import psutil
import pytest

from shiny_sticky.processes import Backoff
from support.copies import copy_project
from support.load import PageLoads
from support.other_user import open_site
from support.real_site import APPS, ECHO, PATIENCE, ROOT, Site, running, until

TWO = {"app": {"target": ECHO, "workers": 2}}


def test_a_start_shows_the_address_and_the_workers(site_of):
    site = site_of(TWO).start()
    assert site.says("Starting 2 workers of app")
    assert site.says("2 of 2 workers ready")
    assert site.says(f"app is at http://127.0.0.1:{site.port}/")
    assert site.table() == {"app1": site.pid("app1"), "app2": site.pid("app2")}


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_stops_everything_and_leaves_nothing(site_of, number):
    site = site_of(TWO).start()
    site.ask()
    assert site.stop(number) == 0
    site.check_nothing_left()


def test_ctrl_c_in_a_terminal_stops_in_order(site_of):
    """A terminal sends SIGINT to its whole foreground group: only the launcher may take it up."""
    site = site_of(TWO)
    leader, follower = pty.openpty()
    launcher = subprocess.Popen(
        [sys.executable, str(ROOT / "launcher.py"), str(site.config)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env=site.env,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(follower)
    shown = bytearray()

    def read():
        while True:
            try:
                shown.extend(os.read(leader, 4096))
            except OSError:
                return

    threading.Thread(target=read, daemon=True).start()
    until(lambda: b"worker" in shown and b"app2" in shown and b"nginx" in shown, "the table")
    assert b"\x1b[" in shown, "coloured on a terminal"
    os.write(leader, b"\x03")
    assert launcher.wait(PATIENCE) == 0
    site.check_nothing_left()
    os.close(leader)


def test_requests_in_progress_are_finished_at_the_end(site_of):
    site = site_of(TWO).start()
    replies = []
    socket = site.websocket(cookie="sticky=app2")
    socket.recv()
    client = threading.Thread(target=lambda: replies.append(site.ask("/?sleep=2", cookie="sticky=app1")))
    client.start()
    until(lambda: site.busy("app1"), "the request has reached the worker")
    assert site.stop() == 0
    client.join()
    assert replies[0].status == 200
    site.check_nothing_left()


def ask_in_vain(site: Site) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        site.ask("/?sleep=3600", cookie="sticky=app1")


def test_a_second_signal_ends_it_at_once(site_of):
    site = site_of(TWO, stop={"drain_timeout": 3600}).start()
    client = threading.Thread(target=ask_in_vain, args=(site,))
    client.start()
    until(lambda: site.busy("app1"), "the request has reached the worker")
    site.launcher.send_signal(signal.SIGINT)
    until(lambda: site.said("SIGINT: stopping"), "the first signal is taken up")
    site.launcher.send_signal(signal.SIGINT)
    assert site.launcher.wait(PATIENCE) == 0, "it does not wait for the request, which would have got an hour"
    client.join()
    site.check_nothing_left()


def test_a_worker_that_ends_is_replaced_and_the_others_serve_on(site_of):
    site = site_of().start()
    others = {name: site.pid(name) for name in ("app1", "app3", "app4")}
    old = site.kill("app2")
    new = site.back("app2", old)
    assert site.ask(cookie="sticky=app2").json["pid"] == new
    assert {name: site.pid(name) for name in others} == others
    until(lambda: site.said(rf"app2 is back \(pid {new}\)"), "the launcher says so")
    assert site.says(rf"app2 \(pid {old}\) was ended by SIGKILL")
    until(lambda: len(list(site.run_dir.glob("app2.*.sock"))) == 1, "one socket of app2 is left")


def test_a_worker_that_cannot_start_any_more_is_tried_again_with_growing_delay(site_of):
    site = site_of({"app": {"target": "app.py:app", "workers": 1, "preload": False}})
    good = (APPS / "echo.py").read_text()
    (site.folder / "app.py").write_text(good)
    site.write()
    site.start()
    (site.folder / "app.py").write_text("raise RuntimeError('spilt coffee')")
    site.kill("app1")
    until(lambda: site.said("started again in 1 s"), "it is tried again and again")
    assert site.says("started again in 0.5 s")
    assert site.says(r"app1 +\| RuntimeError: spilt coffee")
    assert site.ask().status == 503
    (site.folder / "app.py").write_text(good)
    until(lambda: site.ask().status == 200, "it is back")


def test_delays_grow_to_half_a_minute_and_are_forgotten_after_good_service():
    backoff = Backoff()
    assert [backoff.delay(served=0) for _ in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay(served=61) == 0
    assert backoff.delay(served=59) == 0.5


def test_nginx_is_watched_too(site_of):
    site = site_of(TWO).start()
    for _ in range(2):
        old = site.nginx_pid()
        os.kill(old, signal.SIGKILL)
        until(lambda old=old: site.nginx_pid() not in (0, old) and site.said("nginx is back"), "nginx is back")
        until(lambda: site.ask(cookie="sticky=app2").worker == "app2", "it serves")
        site.lines.clear()
    assert site.stop() == 0
    site.check_nothing_left()


# --- the launcher's own death


def test_without_its_launcher_everything_serves_on_and_a_new_one_takes_over(site_of):
    site = site_of(TWO).start()
    site.kill_launcher()
    old = {name: site.pid(name) for name in ("app1", "app2")}
    nginx_pid = site.nginx_pid()
    for _ in range(20):  # more than a broken pipe would survive
        assert site.ask("/?print=nobody+listens", cookie="sticky=app1").json["pid"] == old["app1"]
    until(lambda: "nobody listens" in (site.run_dir / "workers.log").read_text(), "the output is kept")

    with PageLoads(site) as load:
        site.start()
        until(lambda: not any(running(pid) for pid in old.values()), "the old workers have left")
    assert not load.failures, load
    assert site.nginx_pid() == nginx_pid, "nginx is taken over"
    assert {site.pid("app1"), site.pid("app2")}.isdisjoint(old.values())
    until(lambda: len(list(site.run_dir.glob("*.*.sock"))) == 2, "the new workers' sockets are left")
    os.kill(nginx_pid, signal.SIGKILL)
    until(lambda: site.said("nginx is back"), "an nginx that was taken over is watched")
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_new_launcher_that_fails_leaves_the_old_workers_in_service(site_of):
    site = site_of({"app": {"target": "app.py:app", "workers": 2}})
    (site.folder / "app.py").write_text((APPS / "echo.py").read_text())
    site.write()
    site.start()
    site.kill_launcher()
    pids = {name: site.pid(name) for name in ("app1", "app2")}
    (site.folder / "app.py").write_text("import nowhere")
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert {name: site.pid(name) for name in pids} == pids
    assert site.ask(cookie="sticky=app2").json["pid"] == pids["app2"]


def test_fewer_workers_after_a_take_over(site_of):
    site = site_of().start()
    site.kill_launcher()
    site.settings["apps"]["app"]["workers"] = 2
    site.write()
    site.start()
    until(lambda: len(site.sockets()) == 4, "two links and two sockets are left")
    until(site.all_heard, "each is heard")
    assert {site.ask(cookie="sticky=app4").worker for _ in range(4)} == {"app1", "app2"}


def test_what_a_dead_run_leaves_is_no_error(site_of):
    site = site_of(TWO).start()
    site.kill_launcher()
    site.kill_everything()
    assert list(site.run_dir.glob("*.pid"))
    site.start()
    assert site.ask(cookie="sticky=app1").worker == "app1"
    assert site.stop() == 0
    site.check_nothing_left()


# --- the first start


def test_an_app_that_does_not_import_gives_one_traceback_and_leaves_nothing(site_of):
    site = site_of({"good": {"target": ECHO, "workers": 2, "path": "/good"}, "bad": {"target": "bad.py"}})
    (site.folder / "bad.py").write_text(
        "import os\n\n\ndef read():\n    return open('/no/such/data.csv')\n\n\nread()\n"
    )
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert (failed.stdout + failed.stderr).count("Traceback") == 1
    assert "line 5, in read" in failed.stderr
    assert "shiny_sticky" not in failed.stderr, "frames of the launcher's own help nobody"
    assert failed.stderr.splitlines()[-1].startswith("App bad: ")
    site.check_nothing_left()


@pytest.mark.parametrize(
    ("preload", "says"),
    [
        (True, "App app: its import was not done within 0.7 s"),
        pytest.param(False, "app1 did not answer within 0.7 s", marks=pytest.mark.slow),
    ],
)
def test_what_does_not_answer_in_time_is_named(site_of, preload, says):
    site = site_of({"app": {"target": "slow.py", "workers": 1, "start_timeout": 0.7, "preload": preload}})
    (site.folder / "slow.py").write_text("import time\ntime.sleep(60)\n")
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"{says} (start_timeout)" in failed.stderr
    site.check_nothing_left()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        pytest.param("import sys; sys.exit(7)", "cannot be imported", marks=pytest.mark.slow),
        ("import os; os._exit(7)", "exited with code 7"),
    ],
)
def test_a_worker_that_ends_while_it_loads_is_named(site_of, code, says):
    site = site_of({"app": {"target": "ends.py", "workers": 2}})
    (site.folder / "ends.py").write_text(code)
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert says in failed.stderr
    site.check_nothing_left()


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ctrl_c_during_the_start_leaves_nothing(site_of, preload):
    site = site_of({"app": {"target": "slow.py", "workers": 2, "preload": preload}})
    (site.folder / "slow.py").write_text("import time\nprint('loading')\ntime.sleep(60)\n")
    site.launcher = subprocess.Popen(
        [sys.executable, str(ROOT / "launcher.py"), str(site.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=site.env,
    )
    threading.Thread(target=site._read, args=(site.launcher,), daemon=True).start()
    until(lambda: len(site.said("loading")) == (1 if preload else 2), "it is loading, or both are")
    assert site.stop(signal.SIGINT) == 0
    site.check_nothing_left()


# --- output


@pytest.mark.parametrize(
    ("preload", "loaders"), [(True, ["app  "]), pytest.param(False, ["app1 ", "app2 "], marks=pytest.mark.slow)]
)
def test_lines_have_the_name_of_their_worker_or_app_in_front(site_of, preload, loaders):
    site = site_of({"app": {"target": ECHO, "workers": 2, "preload": preload}}).start()
    until(lambda: len(site.said("echo is loaded")) == len(loaders), "each import is seen")
    assert sorted(site.said("echo is loaded")) == [f"{loader} | echo is loaded" for loader in loaders]
    site.ask("/?print=%1b[31mred%1b[0m+[bold]", cookie="sticky=app2")
    until(lambda: "app2  | red [bold]" in site.lines, "the line arrives, plain, with its brackets")


def test_a_very_long_line_is_no_trouble(site_of):
    site = site_of({"app": {"target": "long.py", "workers": 1}})
    (site.folder / "long.py").write_text(f"print('x' * 300_000)\nprint('end')\n{(APPS / 'echo.py').read_text()}")
    site.start()
    until(lambda: site.said(r"\| end"), "what follows arrives")
    assert sum(line.count("x") for line in site.lines if line.startswith("app ")) >= 300_000


def test_a_launcher_whose_output_is_closed_goes_on(site_of):
    site = site_of(TWO)
    site.launcher = subprocess.Popen(
        [sys.executable, str(ROOT / "launcher.py"), str(site.config)], stdout=subprocess.PIPE, env=site.env
    )
    while not site.launcher.stdout.readline().startswith(b"nginx "):
        pass  # the last line of the table
    site.launcher.stdout.close()
    for _ in range(3):
        site.ask("/?print=hello", cookie="sticky=app1")
    old = site.kill("app1")
    site.back("app1", old)
    assert site.ask(cookie="sticky=app1").status == 200
    assert site.launcher.poll() is None


# --- rights


def test_run_dir_is_closed_to_others(site_of):
    site = site_of(TWO).start()
    assert stat.S_IMODE(site.run_dir.stat().st_mode) == 0o700
    for file in [*site.run_dir.glob("*.*.sock"), *site.run_dir.glob("*.log")]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as somebody else")
def test_root_runs_nginx_and_workers_as_the_configured_user(site_of):
    site = open_site(site_of, user="nobody")
    site.settings["apps"]["app"]["uploads"] = ["/"]
    site.write()
    site.start(program=[sys.executable, str(copy_project(site.folder / "project"))])
    reply = site.ask()
    assert reply.json["uid"] != 0
    workers = [process for process in site.processes() if "worker process" in " ".join(process.cmdline())]
    assert workers and {process.uids().real for process in workers} == {reply.json["uid"]}
    assert stat.S_IMODE(site.run_dir.stat().st_mode) == 0o710
    assert site.ask(method="POST", body=b"x" * 3_000_000).json["size"] == 3_000_000
    assert site.stop() == 0
    assert not site.said("run as root")
    site.check_nothing_left()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as somebody else")
@pytest.mark.parametrize(
    ("closed", "says"),
    [
        ("project", "may not enter {}, and so cannot reach {}/shiny_sticky/worker (the workers' program). Move"),
        *(
            pytest.param(closed, says, marks=pytest.mark.slow)
            for closed, says in [
                (
                    ".",
                    "may not enter {}, and so cannot reach {}/project/shiny_sticky/worker (the workers' program), ",
                ),
                ("app.py", "may not read {}. Allow it: chmod o+r"),
            ]
        ),
    ],
)
def test_what_the_configured_user_cannot_reach_is_said_before_anything_starts(site_of, closed, says):
    """A project below /root, which nobody else may enter, for one."""
    site = open_site(site_of, user="nobody")
    launcher = copy_project(site.folder / "project")
    place = (site.folder / closed).resolve()
    place.chmod(0o700)
    for check in ([], ["--check"]):
        failed = site.command(*check, str(site.config), program=[sys.executable, str(launcher)])
        assert failed.returncode == 1
        assert failed.stderr.startswith(f"user: nobody {says.replace('{}', str(place))}")
        assert failed.stderr.count("chmod") == 1, "said once"
        assert not site.run_dir.exists()
    place.chmod(0o755)
    site.start(program=[sys.executable, str(launcher)])
    place.chmod(0o700)
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 1
    assert f"user: nobody {says.replace('{}', str(place))}" in failed.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root that is warned")
def test_root_is_told_when_everything_runs_as_root(site_of):
    assert site_of(TWO).start().says("run as root")


# --- the limit on open files


def limited(files: str) -> list[str]:
    """The launcher, started with a limit on open files: soft:hard."""
    return ["prlimit", f"--nofile={files}", sys.executable, str(ROOT / "launcher.py")]


def test_what_the_shell_allows_at_first_is_not_what_workers_get(site_of):
    """Shells begin with 1024 open files, which a worker's sessions may exceed; more are allowed."""
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start(program=limited("256:8192"))
    for pid in (site.table()["app1"], site.nginx_pid()):
        assert psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE) == (8192, 8192)
    assert "worker_connections  4096;" in site.conf.read_text()
    assert site.says("^nginx +"), "which is the last line before that"
    assert not site.said("may open")


def test_a_limit_that_is_too_low_is_told(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start(program=limited("512:512"))
    (line,) = site.says("may open")
    sessions = os.cpu_count() * 128
    assert line.startswith(
        f"Each process may open 512 files only (ulimit -Hn): enough for about {sessions} sessions."
    )
    assert site.ask().status == 200
