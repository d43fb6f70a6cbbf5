"""New code and settings without dropping a session; workers that are replaced for their age, size or silence."""

import collections
import json
import os
import signal
import stat
import threading

import pytest
import websocket

from support.echo_site import ECHO_CODE, Sessions, echo_site, write_app
from support.load import PageLoads
from support.nginx_workers import nginx_workers
from support.real_site import PATIENCE, Reply, Site, running, until


class Loads(PageLoads):
    """Page loads by new clients, and by one that names each of some workers; notes the versions that answer."""

    def __init__(self, site: Site, workers: list[str]) -> None:
        self.versions: set[int] = set()
        super().__init__(site, [None, *(f"sticky={worker}" for worker in workers)], on_reply=self._note)

    def _note(self, reply: Reply) -> None:
        self.versions.add(reply.json["version"])


# --- deploys


def test_three_deploys_in_a_row_drop_no_session_and_fail_no_request(site_of):
    site = echo_site(site_of)
    open_sessions, old = [], []
    serving = nginx_workers(site)
    with Loads(site, ["app1", "app2"]) as load:
        for version in (2, 3, 4):
            open_sessions.append(Sessions(site, ["app1", "app2"]))
            old += [site.pid("app1"), site.pid("app2")]
            write_app(site, version=version)
            deployed = site.command("reload", str(site.config))
            assert deployed.returncode == 0, deployed.stderr
            assert "Deployed 2 workers in " in deployed.stdout
            assert {site.ask().json["version"] for _ in range(4)} == {version}
            assert {site.ask(cookie=f"sticky={name}").worker for name in ("app1", "app1", "app2")} == {
                "app1",
                "app2",
            }
            assert all(sessions.live() for sessions in open_sessions)
    assert not load.failures, load
    assert load.versions == {1, 2, 3, 4}
    assert all(running(pid) for pid in old), "they still have their sessions"
    states = {"app1": ["serving"] + ["draining"] * 3, "app2": ["serving"] + ["draining"] * 3}
    until(lambda: site.states() == states, "each is heard")
    for sessions in open_sessions:
        sessions.close()
    until(lambda: not any(running(pid) for pid in old), "they leave with their last session")
    until(lambda: site.states() == {"app1": ["serving"], "app2": ["serving"]}, "the launcher has seen it")
    assert nginx_workers(site) == serving, "nginx needed no reload"
    until(lambda: len(site.sockets()) == 4, "two links and two sockets are left")


def test_sighup_deploys(site_of):
    site = echo_site(site_of)
    sessions = Sessions(site, ["app1", "app2"])
    write_app(site, version=2)
    site.launcher.send_signal(signal.SIGHUP)
    until(lambda: site.said("Deployed 2 workers"), "the launcher says so")
    assert site.ask().json["version"] == 2
    assert sessions.live()
    sessions.close()


def test_a_deploy_of_code_that_does_not_import_changes_nothing(site_of):
    site = echo_site(site_of)
    sessions = Sessions(site, ["app1", "app2"])
    pids = [site.pid("app1"), site.pid("app2")]
    (site.folder / "app.py").write_text("import numpie")
    with Loads(site, ["app1"]) as load:
        failed = site.command("reload", str(site.config))
        assert failed.returncode == 1
        assert "No module named 'numpie'" in failed.stderr
        assert "App app: " in failed.stderr
    assert site.says("The deploy has failed; what served before serves on")
    assert site.says("No module named 'numpie'")
    assert not load.failures, load
    assert load.versions == {1}
    assert [site.pid("app1"), site.pid("app2")] == pids
    assert sessions.live()
    sessions.close()
    until(lambda: len(site.sockets()) == 4, "two links and two sockets are left")


def test_a_deploy_with_a_mistake_in_the_settings_changes_nothing(site_of):
    site = echo_site(site_of)
    pids = [site.pid("app1"), site.pid("app2")]
    site.settings["apps"]["app"]["wrokers"] = 3
    site.write()
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 2
    assert 'apps.app.wrokers: unknown key; did you mean "workers"?' in failed.stderr
    site.launcher.send_signal(signal.SIGHUP)
    until(lambda: site.said("The deploy has failed.*wrokers"), "the launcher says so")
    assert [site.pid("app1"), site.pid("app2")] == pids


@pytest.mark.parametrize(
    ("key", "value"), [("run_dir", "elsewhere"), pytest.param("nginx", {"binary": "other"}, marks=pytest.mark.slow)]
)
def test_what_a_deploy_cannot_change_is_said(site_of, key, value):
    site = echo_site(site_of)
    before = dict(site.settings)
    site.settings[key] = value
    site.config.write_text(json.dumps(site.settings))
    site.launcher.send_signal(signal.SIGHUP)
    until(
        lambda: site.said(f"{key} has changed: that takes a stop and a new start of the launcher"),
        "the launcher says so",
    )
    site.settings = before
    assert site.ask().status == 200


def test_workers_are_added_and_removed_by_a_deploy(site_of):
    site = echo_site(site_of)
    first = Sessions(site, ["app1", "app2"])
    with Loads(site, ["app1", "app2"]) as load:
        site.settings["apps"]["app"]["workers"] = 4
        site.write()
        site.reload()
        assert site.ask(cookie="sticky=app4").worker == "app4", "nginx knows the new names"
        for worker in ("app3", "app4"):  # the load takes turns of the round, too
            until(lambda worker=worker: site.ask().worker == worker, f"new clients come to {worker}")
        second = Sessions(site, ["app3", "app4"])

        site.settings["apps"]["app"]["workers"] = 1
        site.write()
        site.reload()
        assert site.ask(cookie="sticky=app4").assigned == "app1", "cookies of removed workers are re-assigned"
        assert first.live()
        assert second.live()
    assert not load.failures, load
    first.close()
    second.close()
    until(lambda: len(site.sockets()) == 2, "removed workers leave with their sessions")


def test_changed_settings_take_effect(site_of):
    site = echo_site(site_of)
    site.settings["apps"]["app"]["env"] = {"GREETING": "new"}
    site.settings["apps"]["app"]["path"] = "/new/"
    site.settings["cookie"] = {"max_age": 60}
    site.write()
    site.reload()
    assert "Max-Age=60" in site.ask("/new/").set_cookies[0]
    assert site.ask("/").status == 404
    reply = site.ask("/new/")
    assert (reply.json["env"], reply.json["root_path"]) == ("new", "/new")


def test_an_edit_that_is_as_long_and_of_the_same_second_is_deployed(site_of):
    site = site_of({"app": {"target": "app.py", "workers": 1}})
    site.env.pop("PYTHONDONTWRITEBYTECODE", None)
    for version in (1, 2):
        write_app(site, version=version)
        os.utime(site.folder / "app.py", (1_800_000_000, 1_800_000_000))
        if version == 1:
            site.start()
        else:
            site.reload()
        assert site.ask().json["version"] == version


def test_an_app_is_added_by_a_deploy(site_of):
    site = echo_site(site_of)
    site.settings["apps"]["other"] = {"target": "app.py", "path": "/other/", "workers": 2}
    site.write()
    site.reload()
    assert site.ask("/other/").worker.startswith("other")
    del site.settings["apps"]["other"]
    site.write()
    site.reload()
    assert site.ask("/other/").worker.startswith("app")


@pytest.mark.parametrize("surge", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_no_more_workers_than_surge_are_started_at_a_time(site_of, surge):
    """Each notes in a file how many are loading with it, and the first ones wait for as many as there may be."""
    site = echo_site(site_of, workers=4, app={"preload": False}, deploy={"surge": surge})
    (site.folder / "app.py").write_text(
        "import os, pathlib, time\n"
        "mine = pathlib.Path(f'loading.{os.getpid()}'); mine.touch(); together = pathlib.Path('together')\n"
        f"while not together.exists() and len(list(pathlib.Path().glob('loading.*'))) < {surge}: time.sleep(0.01)\n"
        "together.touch(); time.sleep(1)\n"
        "count = len(list(pathlib.Path().glob('loading.*'))); mine.unlink()\n"
        "with open('counts', 'a') as file: file.write(f'{count}\\n')\n" + ECHO_CODE
    )
    site.reload()
    counts = [int(line) for line in (site.folder / "counts").read_text().split()]
    assert len(counts) == 4
    assert max(counts) == surge


def test_sessions_that_outlast_the_drain_are_told_of_a_restart(site_of):
    site = echo_site(site_of, deploy={"drain_timeout": 8})
    sessions = Sessions(site, ["app1"])
    old = site.pid("app1")
    site.restart("app1")
    assert sessions.live()
    socket = sessions.sockets["app1"]
    opcode, data = socket.recv_data()
    assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1012)
    until(lambda: not running(old), "the process has left")


def test_a_draining_worker_finishes_its_requests(site_of):
    site = echo_site(site_of)
    replies = []
    client = threading.Thread(target=lambda: replies.append(site.ask("/?sleep=3", cookie="sticky=app1")))
    client.start()
    old = site.pid("app1")
    until(lambda: site.busy("app1"), "the request is under way")
    site.restart("app1")
    assert site.ask(cookie="sticky=app1").json["pid"] != old
    client.join()
    assert (replies[0].status, replies[0].json["pid"]) == (200, old)
    until(lambda: not running(old), "the process has left")


def test_one_worker_is_restarted_by_hand(site_of):
    site = echo_site(site_of)
    pids = {name: site.pid(name) for name in ("app1", "app2")}
    done = site.command("restart", "app2", str(site.config))
    assert done.returncode == 0
    assert f"app2 is {(site.run_dir / 'app2.sock').readlink().stem} now (pid {site.pid('app2')})" in done.stdout
    assert site.pid("app1") == pids["app1"]
    assert site.pid("app2") != pids["app2"]
    until(lambda: not running(pids["app2"]), "the old process has left")
    failed = site.command("restart", "app9", str(site.config))
    assert failed.returncode == 1
    assert "There is no worker app9; there are: app1, app2" in failed.stderr


def test_stopping_gives_open_sessions_their_time(site_of):
    site = echo_site(site_of, stop={"drain_timeout": 8})
    sessions = Sessions(site, ["app1"])
    idle = site.pid("app2")
    site.launcher.send_signal(signal.SIGTERM)
    until(lambda: site.said("open sessions and requests get 8 s"), "the launcher says so")
    assert sessions.live()
    until(lambda: not running(idle), "app2 has left")
    assert site.launcher.wait(PATIENCE) == 0
    with pytest.raises((websocket.WebSocketException, OSError, AssertionError)):
        sessions.live()


# --- the launcher's death


def test_a_killed_launcher_costs_no_session(site_of):
    site = echo_site(site_of)
    sessions = Sessions(site, ["app1", "app2"])
    old = [site.pid("app1"), site.pid("app2")]
    with Loads(site, ["app1", "app2"]) as load:
        site.kill_launcher()
        assert sessions.live()
        site.start()
        assert sessions.live()
    assert not load.failures, load
    assert all(running(pid) for pid in old)
    sessions.close()
    until(lambda: not any(running(pid) for pid in old), "they leave with their last session")
    until(lambda: len(site.said("has left")) == 2, "the new launcher says so")


def test_stopping_ends_removed_workers_too(site_of):
    site = echo_site(site_of, stop={"drain_timeout": 1})
    sessions = Sessions(site, ["app2"])
    site.settings["apps"]["app"]["workers"] = 1
    site.write()
    site.reload()
    assert sessions.live()
    until(lambda: site.states() == {"app1": ["serving"], "app2": ["draining"]}, "the removed one is shown")
    assert site.stop() == 0
    assert site.processes() == []


def test_stopping_ends_what_an_earlier_launcher_left_too(site_of):
    site = echo_site(site_of, stop={"drain_timeout": 1})
    sessions = Sessions(site, ["app1", "app2"])
    site.kill_launcher()
    site.start()
    assert sessions.live()
    assert site.stop() == 0
    site.check_nothing_left()


# --- keeping workers well


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"sessions_served": 2}, "it has served 2 sessions"),
        pytest.param({"lifetime": 5}, "it has served for ", marks=pytest.mark.slow),
        pytest.param({"max_memory": "1MB"}, "it has grown to ", marks=pytest.mark.slow),
    ],
)
def test_a_worker_is_recycled_when_it_is_time(site_of, limit, reason):
    site = echo_site(site_of, workers=1, app={"recycle": limit})
    sessions = [Sessions(site, ["app1"]) for _ in range(2)]
    old = sessions[0].pids["app1"]
    until(lambda: site.said(f"app1 is replaced: {reason}"), "it is time")
    until(lambda: site.pid("app1") != old, "it is replaced")
    assert running(old)
    assert all(each.live() for each in sessions)
    for each in sessions:
        each.close()
    until(lambda: not running(old), "it leaves with its last session")


def test_never_two_workers_of_an_app_are_recycled_at_once(site_of):
    site = echo_site(site_of, workers=3, app={"recycle": {"lifetime": 1}})
    until(lambda: len(site.said(r"is app\d\.\w+ now")) >= 4, "several were recycled")
    lines = [line for line in site.lines if "is replaced: " in line or " now (pid" in line]
    for first, second in zip(lines[::2], lines[1::2], strict=False):
        assert "is replaced: " in first and " now (pid" in second, lines


def test_a_hung_worker_shows_its_stacks_and_is_replaced(site_of):
    site = echo_site(site_of, app={"hang_timeout": 10})
    sessions = Sessions(site, ["app1", "app2"])
    old = site.pid("app1")
    sessions.sockets["app1"].send("hang")
    until(lambda: site.said(rf"app1 \(pid {old}\) has hung for 10 s"), "it is noticed")
    site.back("app1", old)
    assert site.says(r"app1 +\| .*app\.py.* in echo"), "the stack shows where"
    assert site.ask(cookie="sticky=app1").worker == "app1"
    del sessions.sockets["app1"]
    assert sessions.live(), "others are left alone"
    sessions.close()


def test_a_stopped_worker_is_replaced(site_of):
    site = echo_site(site_of, app={"hang_timeout": 4})
    old = site.pid("app1")
    os.kill(old, signal.SIGSTOP)
    site.back("app1", old)
    until(lambda: not running(old), "the old process is gone")
    assert site.ask(cookie="sticky=app1").worker == "app1"


def test_a_long_computation_is_left_alone(site_of):
    site = echo_site(site_of, app={"hang_timeout": 30})
    pid = site.pid("app1")
    os.kill(pid, signal.SIGSTOP)
    replies = []
    client = threading.Thread(target=lambda: replies.append(site.ask(cookie="sticky=app1")))
    client.start()
    client.join(2)
    assert client.is_alive()
    os.kill(pid, signal.SIGCONT)
    client.join()
    assert (replies[0].worker, site.pid("app1")) == ("app1", pid)


# --- the control channel


def test_status_shows_what_runs(site_of):
    site = echo_site(site_of)
    sessions = Sessions(site, ["app2"])
    until(lambda: site.status()["workers"][1]["incarnations"][0]["sessions"] == 1, "the session is counted")
    shown = site.status()
    assert shown["launcher"]["pid"] == site.launcher.pid
    assert shown["nginx"]["pid"] == site.nginx_pid()
    (one,) = shown["workers"][1]["incarnations"]
    assert one["pid"] == site.pid("app2")
    assert one["sessions_served"] == 1
    assert one["memory"] > 10e6
    old = site.kill("app1")
    site.back("app1", old)
    until(lambda: site.status()["workers"][0]["restarts"] == 1, "the restart is counted")
    until(site.all_heard, "each is heard")
    table = site.command("status", str(site.config)).stdout.splitlines()
    assert table[0].split()[:5] == ["worker", "process", "pid", "state", "sessions"]
    assert table[2].split()[:4] == ["app2", one["name"], str(one["pid"]), "serving"]
    sessions.close()


def test_the_control_socket_is_the_launchers_users_alone(site_of):
    site = echo_site(site_of)
    assert stat.S_IMODE((site.run_dir / "control.sock").stat().st_mode) == 0o600
    assert site.stop() == 0
    assert not (site.run_dir / "control.sock").exists()
    for command in (["status"], ["reload"], ["restart", "app1"]):
        failed = site.command(*command, str(site.config))
        assert failed.returncode == 1
        assert f"No launcher answers in {site.run_dir}" in failed.stderr


def test_two_deploys_at_once_are_one_too_many(site_of):
    site = echo_site(site_of)
    wait = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.05)\n"
    write_app(site, wait, version=2)
    done = []
    first = threading.Thread(target=lambda: done.append(site.command("reload", str(site.config))))
    first.start()
    until(lambda: site.said("Deploying 2 workers"), "the first has begun")
    second = site.command("reload", str(site.config))
    assert second.returncode == 1
    assert "A deploy is under way already" in second.stderr
    (site.folder / "go").touch()
    first.join()
    assert done[0].returncode == 0, done[0].stderr
    assert site.ask().json["version"] == 2


# --- full workers


def test_a_full_worker_hands_new_sessions_to_the_next(site_of):
    site = echo_site(site_of, workers=3, app={"max_sessions": 2})
    sockets = [site.websocket(cookie="sticky=app1") for _ in range(6)]
    homes = collections.Counter(json.loads(socket.recv())["worker"] for socket in sockets)
    assert homes == {"app1": 2, "app2": 2, "app3": 2}
    for socket in sockets[2:]:
        assert "sticky=app" in socket.getheaders()["set-cookie"], "the 101 names who took it"

    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        site.websocket(cookie="sticky=app1")
    assert refused.value.status_code == 503
    assert int(refused.value.resp_headers["retry-after"]) > 0
    assert b"Nothing was begun" in refused.value.resp_body
    assert site.ask(cookie="sticky=app1").worker == "app1", "pages are served all the same"

    sockets[0].close()
    until(lambda: site.sessions("app1") == 1, "a place is free")
    again = site.websocket(cookie="sticky=app1")
    assert json.loads(again.recv())["worker"] == "app1"
    for socket in (*sockets[1:], again):
        socket.close()


@pytest.mark.parametrize("how", ["command", pytest.param("signal", marks=pytest.mark.slow)])
def test_stopping_in_the_middle_of_a_deploy_leaves_nothing(site_of, how):
    site = echo_site(site_of)
    (site.folder / "app.py").write_text("import time\nprint('loading')\ntime.sleep(30)\n" + ECHO_CODE)
    client = None
    if how == "signal":
        site.launcher.send_signal(signal.SIGHUP)
    else:
        client = threading.Thread(target=site.command, args=("reload", str(site.config)))
        client.start()
    until(lambda: site.said(r"\| loading"), "the deploy has begun")
    assert site.stop() == 0
    if client is not None:
        client.join()
    site.check_nothing_left()
