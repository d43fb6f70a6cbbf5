"""New code and settings without dropping a session; workers that are replaced for their age, size or silence."""

import collections
import json
import os
import signal
import stat
import threading

import psutil
import pytest
import websocket

from support.real_site import APPS, Site, running, until

ECHO_CODE = (APPS / "echo.py").read_text()


def site_with(site_of, workers=2, app=None, **settings) -> Site:
    """A site whose app can be changed: its code says which version it is."""
    site = site_of({"app": {"target": "app.py", "workers": workers, **(app or {})}}, **settings)
    write_version(site, 1)
    site.write()
    return site.start()


def write_version(site: Site, version: int) -> None:
    (site.folder / "app.py").write_text(f'{ECHO_CODE}\nME["version"] = {version}\n')


class Load:
    """Page loads one after another, by new clients and by one that names each worker; all are counted."""

    def __init__(self, site: Site, clients: int = 2) -> None:
        self.site = site
        self.versions: list[int] = []
        self.failures: list[object] = []
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def _run(self, number: int) -> None:
        cookie = f"sticky=app{number}" if number else None
        while not self._stop.is_set():
            try:
                reply = self.site.ask(cookie=cookie)
                if reply.status == 200:
                    self.versions.append(reply.json["version"])
                else:
                    self.failures.append(reply.status)
            except OSError as error:
                self.failures.append(error)

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()


class Sessions:
    """An open websocket on each worker."""

    def __init__(self, site: Site, workers: list[str]) -> None:
        self.sockets = {worker: site.websocket(cookie=f"sticky={worker}") for worker in workers}
        self.greetings = {worker: json.loads(socket.recv()) for worker, socket in self.sockets.items()}
        assert {worker: greeting["worker"] for worker, greeting in self.greetings.items()} == {
            w: w for w in workers
        }

    def live(self) -> bool:
        for socket in self.sockets.values():
            socket.send("ping")
            assert socket.recv() == "ping"
        return True

    def close(self) -> None:
        for socket in self.sockets.values():
            socket.close()


def status(site: Site) -> dict:
    shown = site.command("status", "--json", str(site.config))
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def states(site: Site) -> dict[str, list[str]]:
    return {worker["name"]: [one["state"] for one in worker["incarnations"]] for worker in status(site)["workers"]}


# --- deploys


def test_three_deploys_in_a_row_drop_no_session_and_fail_no_request(site_of):
    site = site_with(site_of)
    open_sessions, old = [], []
    until(lambda: len(nginx_workers_of(site)) == os.cpu_count(), "nginx has all its processes")
    nginx_workers = nginx_workers_of(site)
    with Load(site, clients=3) as load:
        for version in (2, 3, 4):
            open_sessions.append(Sessions(site, ["app1", "app2"]))
            old += [site.pid("app1"), site.pid("app2")]
            write_version(site, version)
            deployed = site.command("reload", str(site.config))
            assert deployed.returncode == 0, deployed.stderr
            assert "Deployed 2 workers in " in deployed.stdout
            assert {site.ask().json["version"] for _ in range(4)} == {version}
            assert {site.ask(cookie=f"sticky={name}").worker for name in ("app1", "app1", "app2")} == {
                "app1",
                "app2",
            }
            assert all(sessions.live() for sessions in open_sessions)
    assert not load.failures, f"{len(load.failures)} of {len(load.failures) + len(load.versions)}"
    assert set(load.versions) == {1, 2, 3, 4}
    assert all(running(pid) for pid in old), "they still have their sessions"
    assert states(site) == {"app1": ["serving"] + ["draining"] * 3, "app2": ["serving"] + ["draining"] * 3}
    for sessions in open_sessions:
        sessions.close()
    until(lambda: not any(running(pid) for pid in old), "they leave with their last session")
    assert states(site) == {"app1": ["serving"], "app2": ["serving"]}
    assert nginx_workers_of(site) == nginx_workers, "nginx needed no reload"
    assert len(list(site.run_dir.glob("app*.sock"))) == 4


def nginx_workers_of(site: Site) -> set[int]:
    """Those that serve; the two that look after the cache come and go."""
    children = psutil.Process(site.nginx_pid()).children()
    return {child.pid for child in children if "worker process" in " ".join(child.cmdline())}


def test_sighup_deploys(site_of):
    site = site_with(site_of)
    sessions = Sessions(site, ["app1", "app2"])
    write_version(site, 2)
    site.launcher.send_signal(signal.SIGHUP)
    until(lambda: site.said("Deployed 2 workers"), "the launcher says so")
    assert site.ask().json["version"] == 2
    assert sessions.live()
    sessions.close()


def test_a_deploy_of_code_that_does_not_import_changes_nothing(site_of):
    site = site_with(site_of)
    sessions = Sessions(site, ["app1", "app2"])
    pids = [site.pid("app1"), site.pid("app2")]
    (site.folder / "app.py").write_text("import numpie")
    with Load(site) as load:
        failed = site.command("reload", str(site.config))
        assert failed.returncode == 1
        assert "No module named 'numpie'" in failed.stderr
        assert "App app: " in failed.stderr
    assert site.said("The deploy has failed; what served before serves on")
    assert site.said("No module named 'numpie'")
    assert not load.failures
    assert set(load.versions) == {1}
    assert [site.pid("app1"), site.pid("app2")] == pids
    assert sessions.live()
    sessions.close()
    assert len(list(site.run_dir.glob("app*.sock"))) == 4


def test_a_deploy_with_a_mistake_in_the_settings_changes_nothing(site_of):
    site = site_with(site_of)
    pids = [site.pid("app1"), site.pid("app2")]
    site.settings["apps"]["app"]["wrokers"] = 3
    site.write()
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 2
    assert 'apps.app.wrokers: unknown key; did you mean "workers"?' in failed.stderr
    site.launcher.send_signal(signal.SIGHUP)
    until(lambda: site.said("The deploy has failed.*wrokers"), "the launcher says so")
    assert [site.pid("app1"), site.pid("app2")] == pids


@pytest.mark.parametrize(("key", "value"), [("run_dir", "elsewhere"), ("nginx", {"binary": "other"})])
def test_what_a_deploy_cannot_change_is_said(site_of, key, value):
    site = site_with(site_of)
    before = dict(site.settings)
    site.settings[key] = value
    site.config.write_text(json.dumps(site.settings))
    site.launcher.send_signal(signal.SIGHUP)
    until(lambda: site.said(f"{key} has changed: that takes a restart of the launcher"), "the launcher says so")
    site.settings = before
    assert site.ask().status == 200


def test_workers_are_added_and_removed_by_a_deploy(site_of):
    site = site_with(site_of)
    first = Sessions(site, ["app1", "app2"])
    with Load(site, clients=3) as load:
        site.settings["apps"]["app"]["workers"] = 4
        site.write()
        assert site.command("reload", str(site.config)).returncode == 0
        assert site.ask(cookie="sticky=app4").worker == "app4", "nginx knows the new names"
        for worker in ("app3", "app4"):  # the load takes turns of the round, too
            until(lambda worker=worker: site.ask().worker == worker, f"new clients come to {worker}")
        second = Sessions(site, ["app3", "app4"])

        site.settings["apps"]["app"]["workers"] = 1
        site.write()
        assert site.command("reload", str(site.config)).returncode == 0
        assert site.ask(cookie="sticky=app4").assigned == "app1", "cookies of removed workers are re-assigned"
        assert first.live()
        assert second.live()
    assert not load.failures
    first.close()
    second.close()
    until(lambda: len(list(site.run_dir.glob("app*.sock"))) == 2, "removed workers leave with their sessions")


def test_changed_settings_take_effect(site_of):
    site = site_with(site_of)
    site.settings["apps"]["app"]["env"] = {"GREETING": "new"}
    site.settings["apps"]["app"]["path"] = "/new/"
    site.settings["cookie"] = {"max_age": 60}
    site.write()
    assert site.command("reload", str(site.config)).returncode == 0
    assert "Max-Age=60" in site.ask("/new/").set_cookies[0]
    assert site.ask("/").status == 404
    reply = site.ask("/new/")
    assert (reply.json["env"], reply.json["root_path"]) == ("new", "/new")


def test_an_app_is_added_by_a_deploy(site_of):
    site = site_with(site_of)
    site.settings["apps"]["other"] = {"target": "app.py", "path": "/other/", "workers": 2}
    site.write()
    assert site.command("reload", str(site.config)).returncode == 0
    assert site.ask("/other/").worker.startswith("other")
    del site.settings["apps"]["other"]
    site.write()
    assert site.command("reload", str(site.config)).returncode == 0
    assert site.ask("/other/").worker.startswith("app")


@pytest.mark.parametrize("surge", [1, 3])
def test_no_more_workers_than_surge_are_started_at_a_time(site_of, surge):
    """Each notes in a file how many are loading with it."""
    site = site_with(site_of, workers=4, app={"preload": False}, deploy={"surge": surge})
    (site.folder / "app.py").write_text(
        "import os, pathlib, time\n"
        "mine = pathlib.Path(f'loading.{os.getpid()}'); mine.touch(); time.sleep(1)\n"
        "count = len(list(pathlib.Path().glob('loading.*'))); mine.unlink()\n"
        "with open('counts', 'a') as file: file.write(f'{count}\\n')\n" + ECHO_CODE
    )
    assert site.command("reload", str(site.config)).returncode == 0
    counts = [int(line) for line in (site.folder / "counts").read_text().split()]
    assert len(counts) == 4
    assert max(counts) == surge


def test_sessions_that_outlast_the_drain_are_told_of_a_restart(site_of):
    site = site_with(site_of, deploy={"drain_timeout": 3})
    sessions = Sessions(site, ["app1"])
    old = site.pid("app1")
    assert site.command("restart", "app1", str(site.config)).returncode == 0
    assert sessions.live()
    socket = sessions.sockets["app1"]
    opcode, data = socket.recv_data()
    assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1012)
    until(lambda: not running(old), "the process has left")


def test_a_draining_worker_finishes_its_requests(site_of):
    site = site_with(site_of)
    replies = []
    client = threading.Thread(target=lambda: replies.append(site.ask("/?sleep=3", cookie="sticky=app1")))
    client.start()
    old = site.pid("app1")
    until(lambda: busy(old), "the request is under way")
    assert site.command("restart", "app1", str(site.config)).returncode == 0
    assert site.ask(cookie="sticky=app1").json["pid"] != old
    client.join()
    assert (replies[0].status, replies[0].json["pid"]) == (200, old)
    until(lambda: not running(old), "the process has left")


def busy(pid: int) -> bool:
    """Whether nginx has a connection to the worker."""
    return len([link for link in psutil.Process(pid).net_connections("unix") if "app1." in str(link.laddr)]) > 1


def test_one_worker_is_restarted_by_hand(site_of):
    site = site_with(site_of)
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
    site = site_with(site_of, stop={"drain_timeout": 2})
    sessions = Sessions(site, ["app1"])
    site.launcher.send_signal(signal.SIGTERM)
    until(lambda: site.said("open sessions and requests get 2 s"), "the launcher says so")
    until(lambda: not running(site.pid("app2")) if (site.run_dir / "app2.sock").exists() else True, "app2 has left")
    assert sessions.live()
    assert site.launcher.wait(15) == 0
    with pytest.raises((websocket.WebSocketException, OSError, AssertionError)):
        sessions.live()


# --- the launcher's death


def test_a_killed_launcher_costs_no_session(site_of):
    site = site_with(site_of)
    sessions = Sessions(site, ["app1", "app2"])
    old = [site.pid("app1"), site.pid("app2")]
    with Load(site, clients=3) as load:
        site.launcher.kill()
        site.launcher.wait()
        assert sessions.live()
        site.start()
        assert sessions.live()
    assert not load.failures
    assert all(running(pid) for pid in old)
    sessions.close()
    until(lambda: not any(running(pid) for pid in old), "they leave with their last session")
    until(lambda: len(site.said("has left")) == 2, "the new launcher says so")


def test_stopping_ends_removed_workers_too(site_of):
    site = site_with(site_of, stop={"drain_timeout": 1})
    sessions = Sessions(site, ["app2"])
    site.settings["apps"]["app"]["workers"] = 1
    site.write()
    assert site.command("reload", str(site.config)).returncode == 0
    assert sessions.live()
    until(lambda: states(site) == {"app1": ["serving"], "app2": ["draining"]}, "the removed one is shown")
    site.processes()
    assert site.stop() == 0
    assert site.processes() == []


def test_stopping_ends_what_an_earlier_launcher_left_too(site_of):
    site = site_with(site_of, stop={"drain_timeout": 1})
    sessions = Sessions(site, ["app1", "app2"])
    site.launcher.kill()
    site.launcher.wait()
    site.start()
    assert sessions.live()
    site.processes()
    assert site.stop() == 0
    assert site.processes() == []
    assert [file.name for file in site.run_dir.iterdir() if file.suffix in (".sock", ".pid", ".link")] == []


# --- keeping workers well


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"sessions_served": 2}, "it has served 2 sessions"),
        ({"lifetime": 2}, "it has served for "),
        ({"max_memory": "1MB"}, "it has grown to "),
    ],
)
def test_a_worker_is_recycled_when_it_is_time(site_of, limit, reason):
    site = site_with(site_of, workers=1, app={"recycle": limit})
    old = site.pid("app1")
    sessions = [Sessions(site, ["app1"]) for _ in range(2)]
    until(lambda: site.said(f"app1 is replaced: {reason}"), "it is time")
    until(lambda: site.pid("app1") != old, "it is replaced")
    assert running(old)
    assert all(each.live() for each in sessions)
    for each in sessions:
        each.close()
    until(lambda: not running(old), "it leaves with its last session")


def test_never_two_workers_of_an_app_are_recycled_at_once(site_of):
    site = site_with(site_of, workers=3, app={"recycle": {"lifetime": 1}})
    until(lambda: len(site.said(r"is app\d\.\w+ now")) >= 4, "several were recycled")
    lines = [line for line in site.lines if "is replaced: " in line or " now (pid" in line]
    for first, second in zip(lines[::2], lines[1::2], strict=False):
        assert "is replaced: " in first and " now (pid" in second, lines


def test_a_hung_worker_shows_its_stacks_and_is_replaced(site_of):
    site = site_with(site_of, app={"hang_timeout": 3})
    sessions = Sessions(site, ["app1", "app2"])
    old = site.pid("app1")
    sessions.sockets["app1"].send("hang")
    until(lambda: site.said(rf"app1 \(pid {old}\) has hung for 3 s"), "it is noticed")
    site.back("app1", old)
    assert site.said(r"app1 +\| .*app\.py.* in echo"), "the stack shows where"
    assert site.ask(cookie="sticky=app1").worker == "app1"
    del sessions.sockets["app1"]
    assert sessions.live(), "others are left alone"
    sessions.close()


def test_a_stopped_worker_is_replaced(site_of):
    site = site_with(site_of, app={"hang_timeout": 2})
    old = site.pid("app1")
    os.kill(old, signal.SIGSTOP)
    site.back("app1", old)
    assert not running(old)
    assert site.ask(cookie="sticky=app1").worker == "app1"


def test_a_long_computation_is_left_alone(site_of):
    site = site_with(site_of, app={"hang_timeout": 6})
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
    site = site_with(site_of)
    sessions = Sessions(site, ["app2"])
    until(lambda: status(site)["workers"][1]["incarnations"][0]["sessions"] == 1, "the session is counted")
    shown = status(site)
    assert shown["launcher"]["pid"] == site.launcher.pid
    assert shown["nginx"]["pid"] == site.nginx_pid()
    (one,) = shown["workers"][1]["incarnations"]
    assert one["pid"] == site.pid("app2")
    assert one["sessions_served"] == 1
    assert one["memory"] > 10e6
    old = site.kill("app1")
    site.back("app1", old)
    until(lambda: status(site)["workers"][0]["restarts"] == 1, "the restart is counted")
    table = site.command("status", str(site.config)).stdout.splitlines()
    assert table[0].split()[:5] == ["worker", "process", "pid", "state", "sessions"]
    assert table[2].split()[:4] == ["app2", one["name"], str(one["pid"]), "serving"]
    sessions.close()


def test_the_control_socket_is_the_launchers_users_alone(site_of):
    site = site_with(site_of)
    assert stat.S_IMODE((site.run_dir / "control.sock").stat().st_mode) == 0o600
    assert site.stop() == 0
    assert not (site.run_dir / "control.sock").exists()
    for command in (["status"], ["reload"], ["restart", "app1"]):
        failed = site.command(*command, str(site.config))
        assert failed.returncode == 1
        assert f"No launcher answers in {site.run_dir}" in failed.stderr


def test_two_deploys_at_once_are_one_too_many(site_of):
    site = site_with(site_of)
    (site.folder / "app.py").write_text("import time\ntime.sleep(3)\n" + ECHO_CODE + '\nME["version"] = 2\n')
    done = []
    first = threading.Thread(target=lambda: done.append(site.command("reload", str(site.config))))
    first.start()
    until(lambda: site.said("Deploying 2 workers"), "the first has begun")
    second = site.command("reload", str(site.config))
    assert second.returncode == 1
    assert "A deploy is under way already" in second.stderr
    first.join()
    assert done[0].returncode == 0, done[0].stderr
    assert site.ask().json["version"] == 2


# --- full workers


def test_a_full_worker_hands_new_sessions_to_the_next(site_of):
    site = site_with(site_of, workers=3, app={"max_sessions": 2})
    sockets = [site.websocket(cookie="sticky=app1") for _ in range(6)]
    homes = collections.Counter(json.loads(socket.recv())["worker"] for socket in sockets)
    assert homes == {"app1": 2, "app2": 2, "app3": 2}
    for socket in sockets[2:]:
        assert "sticky=app" in socket.getheaders()["set-cookie"], "the 101 names who took it"

    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        site.websocket(cookie="sticky=app1")
    assert refused.value.status_code == 503
    assert int(refused.value.resp_headers["retry-after"]) > 0
    assert b'http-equiv="refresh"' in refused.value.resp_body
    assert site.ask(cookie="sticky=app1").worker == "app1", "pages are served all the same"

    sockets[0].close()
    until(lambda: sessions_of(site, "app1") == 1, "a place is free")
    again = site.websocket(cookie="sticky=app1")
    assert json.loads(again.recv())["worker"] == "app1"
    for socket in (*sockets[1:], again):
        socket.close()


def sessions_of(site: Site, worker: str) -> int:
    (found,) = [each for each in status(site)["workers"] if each["name"] == worker]
    return found["incarnations"][0]["sessions"]


@pytest.mark.parametrize("how", ["command", "signal"])
def test_stopping_in_the_middle_of_a_deploy_leaves_nothing(site_of, how):
    site = site_with(site_of)
    (site.folder / "app.py").write_text("import time\nprint('loading')\ntime.sleep(30)\n" + ECHO_CODE)
    client = None
    if how == "signal":
        site.launcher.send_signal(signal.SIGHUP)
    else:
        client = threading.Thread(target=site.command, args=("reload", str(site.config)))
        client.start()
    until(lambda: site.said(r"\| loading"), "the deploy has begun")
    site.processes()
    assert site.stop() == 0
    if client is not None:
        client.join()
    assert site.processes() == []
    assert [file.name for file in site.run_dir.iterdir() if file.suffix in (".sock", ".pid", ".link")] == []
