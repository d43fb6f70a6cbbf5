"""An app that says what it likes to the launcher: that signals nobody for it, and no other app notices."""

import contextlib
import json
import subprocess
import urllib.parse

import pytest

from support.echo_site import ECHO_CODE
from support.other_user import hostile_site, needs_root, program
from support.real_site import ECHO, Site, running

# What the process that forks the workers says with each fork; {pid} is the fork before.
LYING_FORK_SERVER = """
import sys
control = json.loads(sys.argv[2])["descriptors"]["control"]
fork, forks = os.fork, []
def lie():
    if pid := fork():
        for line in json.loads(os.environ["LIES"]):
            if forks or "{pid}" not in line:
                os.write(control, line.replace("{pid}", str(forks[-1:])[1:-1]).encode() + b"\\n")
        forks.append(pid)
    return pid
os.fork = lie
"""

# A worker says on its own channel what a request's query tells it to.
LYING_WORKER = """
import gc
answer_before = answer
async def answer(scope, receive, send):
    asked = dict(parse_qsl(scope["query_string"].decode()))
    if "say" in asked:
        (channel,) = [each for each in gc.get_objects() if type(each).__name__ == "ControlChannel"]
        channel._control.setblocking(True)
        with __import__("contextlib").suppress(OSError):  # the other end is closed before all is said
            channel._control.sendall(eval(asked["say"]))
    await answer_before(scope, receive, send)
"""


@pytest.fixture
def victim():
    """A process that is no worker, of whoever runs the tests."""
    with subprocess.Popen(["sleep", "3600"]) as process:
        yield process
        process.kill()


def said_forked(pid: int) -> str:
    """That a process is a fork, which the launcher kills if nobody has asked for it."""
    return json.dumps({"message": "Forked", "name": "app9.aaaa", "pid": pid})


def two_apps(site_of, code: str, lies: list[str], **app) -> Site:
    """A good app with a worker, and one that lies; not started."""
    bad = {"target": "bad.py", "workers": 1, "path": "/bad", "env": {"LIES": json.dumps(lies)}, **app}
    site = site_of({"app": {"target": ECHO, "workers": 1}, "bad": bad})
    (site.folder / "bad.py").write_text(ECHO_CODE + code)
    return site


@needs_root
def test_root_kills_nobody_for_an_app_that_says_it_has_forked_it(site_of, victim):
    site = hostile_site(site_of, LYING_FORK_SERVER)
    site.settings["apps"]["app"]["env"]["LIES"] = json.dumps([said_forked(victim.pid)])
    site.write()
    failed = site.command(str(site.config), program=program(site))
    assert failed.returncode == 1
    assert running(victim.pid)
    assert f"pid {victim.pid}" in failed.stdout
    assert site.processes() == []


def test_a_process_of_the_same_user_is_no_fork_either(site_of, victim):
    """Nor does the lie cost another app anything, which serves before, during and after."""
    site = two_apps(site_of, "", []).start()
    (site.folder / "bad.py").write_text(ECHO_CODE + LYING_FORK_SERVER)
    site.settings["apps"]["bad"]["env"]["LIES"] = json.dumps([said_forked(victim.pid)])
    site.write()
    bad = site.pid("bad1")
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 1
    assert site.says(f"bad.*pid {victim.pid}")
    assert running(victim.pid)
    assert site.ask("/bad/").json["pid"] == bad, "what served before serves on"
    assert site.ask().status == 200
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_fork_that_lives_has_not_ended_because_the_app_says_so(site_of):
    """Else nothing would end it, and stopping would wait for it for ever."""
    lie = '{"message": "Ended", "pid": {pid}, "code": 0}'
    site = two_apps(site_of, LYING_FORK_SERVER, [lie], workers=2).start()
    assert site.says("the process that forks its workers .* is killed. It has said: .*Ended")
    pids = set(site.incarnations().values())
    assert len(pids) == 3
    assert site.stop() == 0
    assert not any(map(running, pids))
    site.check_nothing_left()


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param("b'rubbish\\n'", id="no JSON"),
        pytest.param("b'[' * 100_000 + b'\\n'", id="deep JSON", marks=pytest.mark.slow),
        pytest.param("b'x' * 5_000_000", id="no end"),
        pytest.param("b'\\xff\\x00\\n'", id="no text", marks=pytest.mark.slow),
        pytest.param(
            "json.dumps({'message': 'Beat', 'sessions': -1, 'sessions_served': 0}).encode() + b'\\n'",
            id="negative",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "json.dumps(dict(message='Beat', sessions=1, suspended=2, sessions_served=3)).encode() + b'\\n'",
            id="more suspended than there are",
            marks=pytest.mark.slow,
        ),
        pytest.param("json.dumps({'message': 'Ready'}).encode() + b'\\n'", id="twice", marks=pytest.mark.slow),
        pytest.param(
            "json.dumps({'message': 'Ended', 'pid': 1, 'code': 0}).encode() + b'\\n'",
            id="not a worker's",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_that_says_what_none_says_is_not_listened_to_and_nothing_else(site_of, lie):
    site = two_apps(site_of, LYING_WORKER, []).start()
    pids = {worker: site.pid(worker) for worker in ("app1", "bad1")}
    with contextlib.closing(site.websocket(cookie="sticky=app1")) as socket:
        socket.recv()
        assert site.ask("/bad/?" + urllib.parse.urlencode({"say": lie})).status == 200
        assert site.says(rf"bad1 \(pid {pids['bad1']}\) is not listened to any more")
        socket.send("ping")
        assert socket.recv() == "ping"
    assert {worker: site.pid(worker) for worker in pids} == pids, "both serve on"
    assert site.ask("/bad/").json["pid"] == pids["bad1"]
    assert not site.said("Traceback")
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_worker_that_is_not_listened_to_is_replaced_as_one_that_hangs(site_of):
    site = two_apps(site_of, LYING_WORKER, [], hang_timeout=3).start()
    old = site.pid("bad1")
    site.ask("/bad/?say=b'rubbish%5Cn'")
    assert site.back("bad1", old)
    assert site.says("bad1 is back")


def test_an_import_that_ends_with_a_very_long_traceback_is_shown(site_of):
    """Longer than any message is: its end, which names the error, is what is shown."""
    site = site_of({"app": {"target": "long.py", "workers": 1}})
    (site.folder / "long.py").write_text("raise ExceptionGroup('many', [ValueError('x' * 50_000)] * 60)\n")
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert "App app: " in failed.stderr and "cannot be imported" in failed.stderr
    assert "ValueError: xxx" in failed.stderr
