"""Import once, fork: what forks share, and what they have of their own."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from shiny_sticky.supervision.pid_files import PidFile
from support.echo_site import COUNTED, ECHO_CODE, echo_site, imports, write_app
from support.real_site import APPS, Site, running, until


def asked(site: Site, worker: str) -> dict:
    """What a worker has in ME, and who it is."""
    reply = site.ask(cookie=f"sticky={worker}").json
    assert reply["worker"] == worker
    return reply


# --- shared, and not


def test_an_app_is_imported_once_and_its_workers_are_forked(site_of):
    site = echo_site(site_of, workers=4)
    (parent,) = site.parents()
    assert imports(site) == [parent]
    assert {child.pid for child in psutil.Process(parent).children()} == set(site.table().values())
    names = [asked(site, worker)["incarnation"] for worker in site.table()]
    assert [psutil.Process(site.pid(worker)).name() for worker in site.table()] == names, (
        "top and ps tell them apart"
    )
    assert len({os.getsid(pid) for pid in (parent, *site.table().values())}) == 5
    assert site.stop() == 0
    site.check_nothing_left()


def test_without_preload_each_worker_imports_the_app(site_of):
    site = echo_site(site_of, workers=3, app={"preload": False})
    assert sorted(imports(site)) == sorted(site.table().values())
    assert site.parents() == []
    assert not site.said("imports it anew")


@pytest.mark.slow
def test_forks_share_the_memory_of_what_was_imported(site_of):
    """What the second to fourth worker add, forked and spawned."""

    def added(preload: bool) -> float:
        code = (
            "import gc, shiny\nTABLE = [[number] for number in range(600_000)]\n"
            "serve = app\nasync def app(*connection):\n    gc.collect()\n    await serve(*connection)\n"
        )
        sizes = []
        for workers in (1, 4):
            site = echo_site(site_of, code, workers, app={"preload": preload})
            for worker in site.table():
                asked(site, worker)
            sizes.append(
                sum(psutil.Process(pid).memory_full_info().pss for pid in (*site.table().values(), *site.parents()))
            )
            assert site.stop() == 0
        return (sizes[1] - sizes[0]) / 3

    forked, spawned = added(True), added(False)
    assert forked < 0.4 * spawned, (forked, spawned)


DRAWN = """
import random, secrets, sys, uuid
import numpy
import shiny._utils

random.seed(1)
numpy.random.seed(1)

def me():
    names = {name: os.environ.get(f"STICKY_{name.upper()}") for name in ("worker", "incarnation")}
    return {**names, "pid": os.getpid(), "drawn": {
        "random": random.random(),
        "the system's": random.SystemRandom().random(),
        "secrets": secrets.token_hex(),
        "uuid": str(uuid.uuid4()),
        "Shiny's": shiny._utils.private_random_int(0, 2**64),
        "numpy": numpy.random.random(),
    }}
"""


def test_random_numbers_differ_between_forks(site_of):
    site = echo_site(site_of, DRAWN, workers=4)
    assert len(imports(site)) == 1
    drawn = [asked(site, worker)["drawn"] for worker in site.table()]
    for source in drawn[0]:
        assert len({each[source] for each in drawn}) == 4, source


def test_each_worker_knows_its_name_its_environment_and_its_signals(site_of):
    site = echo_site(
        site_of,
        "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: ME.update(told=os.environ['STICKY_WORKER']))\n"
        "ME['at_import'] = [os.environ.get('STICKY_WORKER'), os.environ.get('STICKY_INCARNATION')]",
        app={"env": {"GREETING": "hello"}},
    )
    seen = asked(site, "app2")
    assert (seen["at_import"], seen["env"]) == ([None, None], "hello")
    assert seen["incarnation"].startswith("app2.")
    os.kill(site.pid("app2"), signal.SIGUSR1)
    until(lambda: asked(site, "app2").get("told") == "app2", "a handler of the app's own is in place")
    assert "told" not in asked(site, "app1")


def test_what_is_buffered_at_the_fork_is_written_once(site_of):
    site = echo_site(
        site_of, "LOG = open('log', 'w')\nLOG.write('begun\\n')\nprint('unfinished', end='')", workers=3
    )
    assert len(imports(site)) == 1
    assert site.stop() == 0
    assert (site.folder / "log").read_text() == "begun\n"
    assert len(site.says("unfinished")) == 1


def test_exit_handlers_of_the_import_run_once_when_all_has_ended(site_of):
    site = echo_site(
        site_of,
        "import atexit, tempfile\nHERE = tempfile.TemporaryDirectory(prefix='st-pre-')\nME['here'] = HERE.name\n"
        "atexit.register(lambda: open('exits', 'a').write('x'))\n",
    )
    here = Path(asked(site, "app1")["here"])
    old = site.pid("app1")
    site.restart("app1")
    until(lambda: not running(old), "the old process has left")
    assert Path(asked(site, "app1")["here"]) == here
    assert here.is_dir(), "a worker that ends leaves what it has not made"
    assert not (site.folder / "exits").exists()
    assert site.stop() == 0
    assert not here.exists()
    assert (site.folder / "exits").read_text() == "x"


def test_what_a_worker_registers_for_its_end_is_done(site_of):
    site = echo_site(
        site_of,
        "import atexit, tempfile, weakref, logging\nHERE = tempfile.TemporaryDirectory()\n"
        "serve = app\nasync def app(scope, receive, send):\n"
        "    if 'own' not in ME:\n"
        "        ME['own'] = 1\n"
        "        app.own = tempfile.TemporaryDirectory(prefix='st-own-')\n"
        "        ME['here'] = app.own.name\n"
        "        atexit.register(lambda: open(f'exit-{os.getpid()}', 'w').close())\n"
        "    await serve(scope, receive, send)\n",
    )
    seen = {worker: asked(site, worker) for worker in ("app1", "app2")}
    assert seen["app1"]["here"] != seen["app2"]["here"]
    assert site.stop() == 0
    for worker in seen.values():
        assert not Path(worker["here"]).exists()
        assert (site.folder / f"exit-{worker['pid']}").exists()


def test_a_fork_has_the_descriptors_and_signals_of_a_spawned_worker(site_of):
    kinds, signals = [], []
    for preload in (True, False):
        site = echo_site(site_of, app={"preload": preload})
        links = [str(link.readlink()) for link in Path(f"/proc/{site.pid('app2')}/fd").iterdir()]
        kinds.append(sorted(re.sub(r"[0-9]+|st-.*/run", "", link) for link in links))
        signals.append(
            re.findall(r"^Sig(?:Blk|Ign|Cgt):.*", Path(f"/proc/{site.pid('app2')}/status").read_text(), re.M)
        )
    assert [re.sub("[.].*", "", link) for link in kinds[0]] == [re.sub("[.].*", "", link) for link in kinds[1]]
    assert signals[0] == signals[1], "blocked, ignored, caught"


# --- a worker's life


def test_a_killed_worker_is_forked_anew(site_of):
    site = echo_site(site_of)
    write_app(site, version=2)
    (parent,) = site.parents()
    old = site.kill("app1")
    new = site.back("app1", old)
    until(lambda: site.said(rf"app1 \(pid {old}\) was ended by SIGKILL"), "it is said how it ended")
    until(lambda: site.said(rf"app1 is back \(pid {new}\)"), "it is back")
    assert psutil.Process(new).ppid() == parent
    assert asked(site, "app1")["version"] == 1, "the code is that of the last deploy"
    site.restart("app2")
    assert asked(site, "app2")["version"] == 1
    assert imports(site) == [parent]
    assert site.parents() == [parent]


@pytest.mark.parametrize(
    ("end", "says"),
    [("os._exit(7)", "exited with code 7"), pytest.param("os.abort()", "SIGABRT", marks=pytest.mark.slow)],
)
def test_it_is_said_how_a_fork_ended(site_of, end, says):
    site = echo_site(
        site_of, f"import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *_: {end})", app={"hang_timeout": 0}
    )
    old = site.pid("app1")
    os.kill(old, signal.SIGUSR1)
    site.back("app1", old)
    until(lambda: site.said(rf"app1 \(pid {old}\) (was ended by )?{says}"), "it is said")


def test_a_fork_that_hangs_shows_its_stacks_and_is_forked_anew(site_of):
    site = echo_site(site_of, app={"hang_timeout": 4})
    socket = site.websocket(cookie="sticky=app1")
    socket.recv()
    old = site.pid("app1")
    socket.send("hang")
    until(lambda: site.said(rf"app1 \(pid {old}\) has hung for 4 s"), "it is noticed")
    site.back("app1", old)
    assert site.says(r"app1 +\| .*app\.py.* in echo"), "the stack shows where"
    until(lambda: site.said(rf"app1 \(pid {old}\) was ended by SIGABRT"), "and how it ended")
    assert imports(site) == site.parents()
    socket.close()


# --- a parent's life


def test_a_deploy_imports_the_new_code_and_the_old_parent_leaves_with_its_last_worker(site_of):
    site = echo_site(site_of)
    (old_parent,) = site.parents()
    socket = site.websocket(cookie="sticky=app1")
    assert json.loads(socket.recv())["version"] == 1
    old = site.pid("app1")
    write_app(site, version=2)
    site.reload()
    assert {asked(site, worker)["version"] for worker in site.table()} == {2}
    (new_parent,) = set(site.parents()) - {old_parent}
    assert imports(site) == [old_parent, new_parent]
    socket.send("still there")
    assert socket.recv() == "still there"
    assert running(old) and running(old_parent)
    socket.close()
    until(lambda: not running(old), "the old worker leaves with its session")
    until(lambda: not running(old_parent), "the old parent leaves with its worker")
    until(lambda: site.parents() == [new_parent], "the launcher has seen it")
    assert not site.said("the process that forks its workers"), "nothing has failed"
    until(lambda: len(list(site.run_dir.glob("app-*.pid"))) == 1, "one pid file of a parent is left")
    assert site.stop() == 0
    site.check_nothing_left()


def test_code_that_does_not_import_fails_before_anything_is_replaced(site_of):
    """Not even a worker of another app whose code is good."""
    site = site_of({"good": {"target": "good.py", "workers": 2, "path": "/good/"}, "app": {"target": "app.py"}})
    (site.folder / "good.py").write_text(ECHO_CODE)
    write_app(site, "")
    site.start()
    pids = {worker: site.pid(worker) for worker in site.table()}
    before = site.parents()
    (site.folder / "app.py").write_text("import numpie")
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 1
    assert "No module named 'numpie'" in failed.stderr
    assert "App app: " in failed.stderr
    assert failed.stderr.count("Traceback") == 1
    assert {worker: site.pid(worker) for worker in pids} == pids
    until(lambda: site.parents() == before, "the new parents have left")
    old = site.kill("app1")
    site.back("app1", old)
    assert site.ask(cookie="sticky_app=app1").json["pid"] != old, "the old code is still there to be forked"
    until(
        lambda: sorted(file.name.split("-")[0] for file in site.run_dir.glob("*-*.pid")) == ["app", "good"],
        "one pid file a parent is left",
    )


def test_a_deploy_that_fails_midway_leaves_each_worker_its_parent(site_of):
    """The new code comes up in app1 only."""
    site = echo_site(site_of)
    write_app(
        site,
        "ME['version'] = 2\nserve = app\nasync def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan' and os.environ['STICKY_WORKER'] == 'app2': os._exit(7)\n"
        "    await serve(scope, receive, send)\n",
    )
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 1
    assert "App app: app2 exited with code 7 before it answered" in failed.stderr
    assert [asked(site, worker)["version"] for worker in ("app1", "app2")] == [
        1 + (w == "app1") for w in ("app1", "app2")
    ]
    assert len(site.parents()) == 2
    for worker, version in (("app1", 2), ("app2", 1)):
        old = site.kill(worker)
        site.back(worker, old)
        assert asked(site, worker)["version"] == version
    assert len(imports(site)) == 2
    write_app(site, version=3)
    site.reload()
    until(lambda: len(site.parents()) == 1, "both have left")
    assert {asked(site, worker)["version"] for worker in site.table()} == {3}


def test_the_death_of_a_parent_is_not_that_of_its_workers(site_of):
    site = echo_site(site_of)
    (parent,) = site.parents()
    pids = {worker: site.pid(worker) for worker in site.table()}
    socket = site.websocket(cookie="sticky=app2")
    socket.recv()
    os.kill(parent, signal.SIGKILL)
    until(lambda: site.said(rf"\(pid {parent}\) was ended by SIGKILL; .*serve on"), "it is said")
    assert site.parents() == []
    assert {worker: asked(site, worker)["pid"] for worker in pids} == pids
    site.restart("app1")
    (new,) = site.parents()
    assert site.says(rf"App app is imported anew \(pid {new}\)")
    assert psutil.Process(site.pid("app1")).ppid() == new
    until(lambda: not running(pids["app1"]), "the old worker has left")
    socket.send("ping")
    assert socket.recv() == "ping"
    assert site.pid("app2") == pids["app2"]
    socket.close()
    site.kill("app2")
    site.back("app2", pids["app2"])
    assert site.says(rf"app2 \(pid {pids['app2']}\) ended$"), "nobody knows how"
    assert imports(site) == [parent, new]
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_parent_that_is_asked_to_end_stays_while_it_is_needed(site_of):
    """systemd and the like signal every process of a service."""
    site = echo_site(site_of)
    (parent,) = site.parents()
    os.kill(parent, signal.SIGTERM)
    os.kill(parent, signal.SIGINT)
    old = site.kill("app1")
    site.back("app1", old)
    assert site.parents() == [parent]
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_parent_that_does_not_answer_is_replaced(site_of):
    site = echo_site(site_of, app={"start_timeout": 20})
    (parent,) = site.parents()
    os.kill(parent, signal.SIGSTOP)
    old = site.kill("app1")
    site.back("app1", old)
    assert site.says("could not be forked within 20 s")
    assert site.parents() != [parent]
    until(lambda: not running(parent), "the old parent is gone")


def test_without_its_launcher_a_parent_stays_for_its_workers_only(site_of):
    site = echo_site(site_of)
    (parent,) = site.parents()
    sockets = [site.websocket(cookie=f"sticky={worker}") for worker in ("app1", "app2")]
    for each in sockets:
        each.recv()
    pids = list(site.table().values())
    site.kill_launcher()
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pids[0]), "the parent reaps what it has forked")
    assert running(parent)
    site.start()
    sockets[1].send("ping")
    assert sockets[1].recv() == "ping"
    assert running(parent)
    sockets[1].close()
    until(lambda: not running(pids[1]), "the old worker leaves with its session")
    until(lambda: not running(parent), "the old parent leaves with its worker")
    until(lambda: len(list(site.run_dir.glob("app-*.pid"))) == 1, "and its pid file goes")
    assert site.stop() == 0
    site.check_nothing_left()


def test_the_pid_file_of_a_parent_is_locked_while_that_lives_and_no_longer(site_of):
    """Its forks do not hold it: a new launcher removes it. The kernel says whose the lock is."""
    site = echo_site(site_of)
    (parent,) = site.parents()
    (file,) = site.run_dir.glob("app-*.pid")
    assert file.read_text() == f"{parent}\n"
    open_sessions = [site.websocket(cookie=f"sticky={worker}") for worker in ("app1", "app2")]
    for each in open_sessions:
        each.recv()
    site.kill_launcher()
    with file.open("r+") as stream, pytest.raises(BlockingIOError):
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert PidFile(file).holder.pid == parent
    os.kill(parent, signal.SIGKILL)
    until(lambda: not running(parent), "the parent is dead")
    with file.open("r+") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    site.start()
    assert not file.exists()
    for each in open_sessions:
        each.send("ping")
        assert each.recv() == "ping"
        each.close()
    assert site.stop() == 0
    site.check_nothing_left()


def test_stopping_ends_the_parent_that_an_earlier_launcher_left(site_of):
    site = echo_site(
        site_of, "import atexit, time\natexit.register(lambda: time.sleep(0.5))", stop={"drain_timeout": 1}
    )
    (parent,) = site.parents()
    socket = site.websocket(cookie="sticky=app1")
    socket.recv()
    site.kill_launcher()
    site.start()
    assert running(parent)
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_launcher_killed_during_the_import_leaves_nothing(site_of):
    site = site_of({"app": {"target": "slow.py", "workers": 2}})
    (site.folder / "slow.py").write_text("import time\nprint('loading')\ntime.sleep(3600)\n")
    launcher = subprocess.Popen(
        [sys.executable, str(APPS.parent.parent / "launcher.py"), str(site.config)],
        stdout=subprocess.PIPE,
        text=True,
        env=site.env,
    )
    while "loading" not in launcher.stdout.readline():
        pass
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    until(lambda: not site.processes(), "nobody waits for the import any more")


def test_the_interpreter_of_an_app_does_the_forking(site_of):
    """The parent runs in it, with the app's environment and folder."""
    site = site_of({"app": {"target": "sub/app.py", "workers": 2, "env": {"GREETING": "hi"}, "python": sys.prefix}})
    (site.folder / "sub").mkdir()
    (site.folder / "sub" / "app.py").write_text(f"{COUNTED}{ECHO_CODE}\nME['at_import'] = os.environ['GREETING']")
    site.start()
    assert asked(site, "app2")["at_import"] == "hi"
    assert len((site.folder / "sub" / "imports").read_text().split()) == 1


def test_two_apps_have_a_parent_each(site_of):
    site = site_of(
        {
            "lab": {"target": "lab.py", "workers": 2},
            "stock": {"target": "stock.py", "workers": 2, "path": "/stock/"},
            "other": {"target": "other.py", "workers": 1, "path": "/other/", "preload": False},
        }
    )
    for name in ("lab", "stock", "other"):
        (site.folder / f"{name}.py").write_text(ECHO_CODE)
    site.start()
    assert [parent["app"] for parent in site.status()["parents"]] == ["lab", "stock"]
    assert all(parent["memory"] > 10e6 for parent in site.status()["parents"])
    del site.settings["apps"]["stock"]
    site.write()
    site.reload()
    until(lambda: [parent["app"] for parent in site.status()["parents"]] == ["lab"], "stock's has left")


def test_many_workers_crash_at_once_while_the_parent_is_gone(site_of):
    site = echo_site(site_of, workers=4)
    pids = {worker: site.pid(worker) for worker in site.table()}
    for pid in (*site.parents(), *pids.values()):
        os.kill(pid, signal.SIGKILL)
    back = [threading.Thread(target=site.back, args=item) for item in pids.items()]
    for thread in back:
        thread.start()
    for thread in back:
        thread.join()
    assert len(imports(site)) == 2, "one new parent is enough"
