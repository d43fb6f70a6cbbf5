"""`load play`: visits are played as they were recorded, by many at once, and what goes wrong is said."""

import io
import json
import re
import shlex
import signal
import subprocess
import time

import pytest

from shiny_sticky.cli import main
from shiny_sticky.client.load import results
from shiny_sticky.client.load.judging import quantile
from shiny_sticky.client.load.playing import ramp
from shiny_sticky.client.load.recording import Kind
from shiny_sticky.load_commands import load
from support.known_delays import KnownDelays
from support.real_site import LAUNCHER
from support.recorded import Recorded
from support.sockjs_server import SockJsServer
from support.waiting import PATIENCE, until


def play(visit, url: str, *options: str) -> subprocess.CompletedProcess:
    words = [*LAUNCHER, "load", "play", visit, url, "-o", visit.with_name("load.jsonl"), *options]
    return subprocess.run(
        words, capture_output=True, text=True, cwd=visit.parent, timeout=3 * PATIENCE, check=False
    )


def playing(visit, url: str, seconds: int) -> subprocess.Popen:
    words = ["load", "play", visit, url, "-o", visit.with_name("load.jsonl"), "--for", str(seconds)]
    return subprocess.Popen([*LAUNCHER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def found_by(visit) -> results.Found:
    return results.read(visit.with_name("load.jsonl"))


@pytest.fixture
def recorded(tmp_path) -> Recorded:
    return Recorded(tmp_path / "visit.jsonl")


def test_a_visit_is_played_as_it_was_recorded(recorded):
    """Page, files, cookies, session, upload; the outputs come in another order than they did, and one by one."""
    visit = (
        recorded.session()
        .says(method="init", data={"x": 1, "y": 1})
        .hears("x", "y")
        .pause(0.3)
        .says(method="uploadInit", args=[[{"name": "a", "size": 5}]], tag=0)
        .hears_message({"response": {"tag": 0, "value": {"jobId": "${UPLOAD_JOB_ID}"}}}, Kind.BEGIN_UPLOAD)
        .request(Kind.POST, "/session/${SESSION}/upload/${UPLOAD_JOB_ID}?w=", body=b"hello")
        .says(method="uploadEnd", args=["${UPLOAD_JOB_ID}", "file"], tag=1)
        .hears_message({"response": {"tag": 1, "value": None}})
        .sets("c", "a", "b")
        .hears("a", "b", "c")
        .request(Kind.GET, "/none", status=404)
        .closed()
    )
    server = KnownDelays(shuffled=True)
    with server.served() as url:
        ran = play(visit, url + "some/app", "--users", "2", "--for", "1", "-H", "X-Key: 7")
    assert ran.returncode == 0, ran.stderr
    assert "This machine holds at least 2 users of this visit within 500 ms; no limit was reached." in ran.stdout
    found = found_by(visit)
    assert not found.faults
    assert found.levels[0].finished > 0
    assert {
        "page",
        "files of the page (2)",
        "session begins",
        "init → x, y",
        "uploadInit → response 0",
        "upload",
        "uploadEnd → response 1",
        "c, a, b → a, b, c",
        "request none",
    } == {reply.what for reply in found.replies}
    assert server.most == 2
    assert {"/some/app/", "/some/app/lib/a.js", "/some/app/none"} < set(server.requests)
    uploads = [path for path in server.requests if "/upload/" in path]
    assert uploads[0].startswith("/some/app/session/app1.abcd-0000")
    assert len(set(uploads)) == len(uploads), "each session has its own"
    assert b"hello" in server.bodies
    assert all(headers["x-key"] == "7" for headers in server.headers)
    with_cookie = [headers.get("cookie") == "sticky=app2" for headers in server.headers]
    assert with_cookie.count(False) == server.requests.count("/some/app/"), "only the first request has none yet"
    ends = [json.loads(text) for text in server.said if "uploadEnd" in text]
    assert all(end["args"][0].startswith("job") for end in ends)


def test_a_recording_of_connect_is_played_with_its_worker_token_and_sockjs(recorded):
    """What shinyloadtest's placeholders stand for is each session's own."""
    place = "/__sockjs__/n=${ROBUST_ID}/t=${TOKEN}/w=${WORKER}/s=0"
    said = json.dumps(['1#0|m|{"method":"init","data":{"x":1}}'])
    came = "a" + json.dumps(['2#0|m|{"errors":[],"values":{"x":1},"inputMessages":[]}'])
    visit = (
        recorded.request(Kind.PAGE, "/")
        .request(Kind.TOKEN, "/_w_${WORKER}/__token__?_=1")
        .request(Kind.SOCKJS_INFO, f"{place}/info")
        .event(Kind.OPEN, url=f"{place}/${{SOCKJSID}}/websocket")
        .event(Kind.RECEIVE, message="o")
        .event(Kind.SEND, message='["0#0|o|"]')
        .event(Kind.SEND, message=said)
        .event(Kind.INIT, message='a["1#0|m|{\\"config\\":{\\"sessionId\\":\\"${SESSION}\\"}}"]')
        .event(Kind.RECEIVE, message=came)
        .request(Kind.GET, "/_w_${WORKER}/session/${SESSION}/x")
        .closed()
    )
    server = SockJsServer()
    with server.served() as url:
        ran = play(visit, url, "--users", "2", "--for", "1")
    assert ran.returncode == 0, ran.stderr
    found = found_by(visit)
    assert not found.faults, found.faults[0]
    assert any(reply.what == "init → config, x" for reply in found.replies)
    assert all(
        re.fullmatch(r"/__sockjs__/n=[0-9a-f]{18}/t=t0k3n/w=1a2b3c/s=0/000/[0-9a-f]{8}/websocket", path)
        for path in server.sockets
    )
    assert len(set(server.sockets)) == len(server.sockets) > 1, "each session has its own"
    assert any(re.fullmatch(r"/_w_1a2b3c/session/app1.abcd-[0-9a-f]+/x", path) for path in server.requests)


def test_an_output_that_does_not_come_is_named_and_the_visit_goes_on(recorded):
    visit = recorded.session().says(method="init", data={"x": 1}).hears("x", "gone").sets("a").hears("a").closed()
    with KnownDelays().served() as url:
        ran = play(visit, url, "--for", "2", "--patience", "1")
    assert ran.returncode == 0, ran.stderr
    found = found_by(visit)
    assert {(fault.what, fault.why) for fault in found.faults} == {
        ("init → gone, x", "not within 1 s: output gone"),
    }
    assert any(reply.what == "a → a" for reply in found.replies)
    assert "does not hold 1 user of this visit" in ran.stdout
    assert "the first limit is what fails: init → gone, x: not within 1 s: output gone" in ran.stdout


@pytest.mark.slow
def test_a_server_that_goes_away_is_noticed(recorded):
    visit = recorded.session().says(method="init", data={"x": 1}).hears("x").pause(1).sets("a").hears("a").closed()
    server = KnownDelays()
    with server.served() as url:
        player = playing(visit, url, 6)
        until(lambda: server.took["x"], "it plays")
    said, _ = player.communicate(timeout=PATIENCE)
    assert "failed" in said
    assert any("no connection" in fault.why for fault in found_by(visit).faults)


def test_ctrl_c_ends_it_with_what_was_found_so_far(recorded):
    visit = recorded.session().says(method="init", data={"x": 1}).hears("x").pause(0.2).closed()
    server = KnownDelays()
    with server.served() as url:
        words = [
            *LAUNCHER,
            "load",
            "play",
            str(visit),
            url,
            "-o",
            str(visit.with_name("load.jsonl")),
            "--for",
            "99",
        ]
        player = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: server.took[""] or server.took["x"], "it plays")
        player.send_signal(signal.SIGINT)
        said, complaints = player.communicate(timeout=PATIENCE)
        until(lambda: server.sessions == 0, "its pages are closed")
    assert player.returncode == 130
    assert "Ended; what was found so far is in" in said
    assert "Traceback" not in complaints
    assert found_by(visit).verdict == "It ended before anything could be told."


def test_it_asks_before_a_site_on_another_machine(recorded, monkeypatch, capsys):
    visit = recorded.session().closed()
    monkeypatch.chdir(visit.parent)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["load", "play", str(visit), "http://192.0.2.1/", "--users", "9"]) == 130
    assert (
        "192.0.2.1 is not this machine. Really send up to 9 users to http://192.0.2.1/ (--yes does not ask)?"
        in capsys.readouterr().out
    )
    assert not visit.with_name("load.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["visit.log", "http://127.0.0.1:1/"], "visit.log cannot be read"),
        (["visit.jsonl", "http://127.0.0.1:1/", "--users", "1", "--ramp", "1..2"], "say one of them"),
        (["visit.jsonl", "127.0.0.1:1", "--ramp", "10-20"], "10-20 is no range of users: say 10..500"),
        (["visit.jsonl", "ftp://a"], "ftp://a is no address of a site"),
        (["visit.jsonl", "127.0.0.1:1", "-H", "Cookie"], "Cookie is no header: say 'name: value'"),
    ],
)
def test_a_mistake_is_named_before_anything_is_played(recorded, monkeypatch, capsys, words, says):
    monkeypatch.chdir(recorded.session().closed().parent)
    assert main(["load", "play", *words]) != 0
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["record", "play", "report"])
def test_the_help_of_each_command_has_examples_that_can_be_typed(monkeypatch, capsys, command):
    monkeypatch.setattr("sys.argv", ["shiny-sticky"])
    assert main(["help", "load", command]) == 0
    shown = capsys.readouterr().out
    examples = re.findall(r"^  shiny-sticky (load .*?)(?:  .*)?$", shown.partition("Examples:")[2], re.MULTILINE)
    assert examples
    for words in map(shlex.split, examples):
        assert words[1] == command
        load.commands[command].make_context(command, words[2:])
    assert main(["load", command, "--mistake"]) == 2
    assert f"See: shiny-sticky help load {command}" in capsys.readouterr().err


def test_a_ramp_grows_by_the_step_and_ends_with_the_last_number():
    assert ramp(10, 50, 0.5) == (10, 15, 22, 33, 50)
    assert ramp(1, 4, 0.25) == (1, 2, 3, 4)
    assert ramp(7, 7, 0.25) == (7,)


@pytest.mark.slow
def test_a_ramp_ends_where_the_limit_is_broken(recorded):
    """With a server that takes longer, the more sessions it has: 80 ms for each."""
    visit = recorded.session().says(method="init", data={"x": 1}).hears("x")
    for _ in range(3):
        visit.pause(0.5).sets("a").hears("a")
    server = KnownDelays(lambda name, sessions: 0.08 * sessions if name == "a" else 0)
    with server.served() as url:
        ran = play(visit.closed(), url, "--ramp", "2..40", "--step", "100", "--for", "5", "--p95", "800")
    assert ran.returncode == 0, ran.stderr
    found = found_by(recorded.file)
    assert [level.users for level in found.levels][:2] == [2, 4]
    kept = [level.users for level in found.levels if not level.broken]
    assert kept[-1] in (4, 8), "16 sessions take 1.3 s"
    assert f"This machine holds {kept[-1]} users of this visit within 800 ms" in ran.stdout


@pytest.mark.slow
def test_its_figures_are_right_within_five_percent(recorded):
    """For a server that has measured its own delays; what the client was late itself, it has said."""
    delays = {"fast": 0.6, "slow": 1.5, "/": 0.8}
    visit = recorded.session().says(method="init", data={"fast": 1}).hears("fast")
    for name in ("fast", "slow", "fast"):
        visit.pause(0.4).sets(name).hears(name)
    server = KnownDelays(lambda name, sessions: delays.get(name, 0) * (1 + 0.2 * (time.monotonic() % 1)))
    with server.served() as url:
        ran = play(visit.closed(), url, "--users", "20", "--for", "12", "--p95", "5000")
    assert ran.returncode == 0, ran.stderr
    found = found_by(recorded.file)
    lag = found.levels[0].lag
    for label, truth in (("fast → fast", "fast"), ("slow → slow", "slow"), ("page", "/")):
        seconds = [reply.seconds for reply in found.replies if reply.what == label]
        for share in (0.5, 0.95):
            told, true = quantile(seconds, share), quantile(server.took[truth], share)
            allowed = 0.05 * true + (lag if share > 0.5 else 0)
            assert abs(told - true) <= allowed, (label, share, told, true, lag)
