"""`verify` tells from outside whether a site is sticky, this project's or anybody's."""

import http.server
import importlib
import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shiny_sticky.cli import main
from shiny_sticky.client.verify.fronts import ADVICE
from support import fronts
from support.real_site import APPS, LAUNCHER, ROOT, Site
from support.waiting import PATIENCE, free_port, until

QUICK = ["--patience", "0.5s", "--sessions", "6"]


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": str(APPS / "core_app.py"), "workers": 4}}) as shared:
        yield shared.start()


def asked(port: int, capsys, *options: str) -> tuple[int, dict]:
    """What `verify --json` says: the exit code, and what it printed."""
    capsys.readouterr()
    code = main(["verify", "--json", *QUICK, *options, f"http://127.0.0.1:{port}"])
    return code, json.loads(capsys.readouterr().out)


def results(found: dict) -> dict[str, str]:
    return {each["check"]: each["result"] for each in found["checks"]}


def check(found: dict, name: str) -> dict:
    (one,) = [each for each in found["checks"] if each["check"] == name]
    return one


def test_of_this_project_all_is_well(site, capsys):
    until(site.all_heard, "each worker is heard, and gets new visitors")
    code, found = asked(site.port, capsys)
    wrong = {name: result for name, result in results(found).items() if result != "good"}
    assert (code, wrong) == (0, {})
    assert set(results(found)) == {name for name in ADVICE if not name.startswith("watch_")} | {"processes"}
    assert found["front"] == "shiny-sticky"
    assert len(check(found, "processes")["facts"]["processes"]) > 1
    assert check(found, "reconnect")["facts"]["resumed"] is True
    assert check(found, "with_cookies")["facts"] == {"asked": 18, "lost": 0, "problems": {}}
    assert check(found, "uploads")["facts"] == {
        "allowed_bytes": 100 << 20,
        "refused_bytes": 1 << 30,
        "answer": "413",
    }


def asked_out_loud(port: int, capsys, *options: str) -> tuple[re.Match, dict]:
    """What it says first, and then."""
    capsys.readouterr()
    main(["verify", "--json", *QUICK, *options, f"http://127.0.0.1:{port}"])
    printed = capsys.readouterr()
    return re.search(r"up to (\d+) requests and (\d+) websockets", printed.err), json.loads(printed.out)


def test_it_makes_no_more_requests_than_it_says_and_counts_them_right(site_of, capsys):
    """As nginx writes down."""
    site = site_of({"app": {"target": str(APPS / "core_app.py"), "workers": 2}}).start()
    announced, found = asked_out_loud(site.port, capsys)
    assert found["requests"] <= int(announced[1])
    assert found["websockets"] <= int(announced[2])
    made = found["requests"] + found["websockets"]
    log = site.run_dir / "nginx-access.log"
    until(lambda: len(log.read_text().splitlines()) >= made, "nginx has written them down")
    site.stop()
    assert len(log.read_text().splitlines()) == made


def test_what_is_printed_is_a_line_a_check_without_colours(site, capsys):
    assert main(["verify", *QUICK, f"127.0.0.1:{site.port}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("✓ ")] == []
    assert "✓ 18 of 18 requests of a session without cookies reach it" in lines


def test_uvicorns_own_workers_are_found_out(capsys):
    with fronts.uvicorn_on_a_port("taking_time", workers=2) as port:
        code, found = asked(port, capsys)
    assert code == 1
    assert results(found)["with_cookies"] == results(found)["tabs"] == "bad"
    assert results(found)["without_cookies"] == results(found)["cookies"] == "none"
    assert "--workers" in check(found, "with_cookies")["advice"][0]
    assert check(found, "with_cookies")["facts"]["problems"].keys() == {"404"}
    assert results(found)["origin"] == results(found)["compression"] == results(found)["caching"] == "bad"


@pytest.mark.slow
def test_a_hash_of_the_cookie_is_found_to_need_the_cookie(capsys):
    with fronts.uvicorns_behind_nginx(
        fronts.HASH, fronts.PASSES_WEBSOCKETS + fronts.HASH_COOKIE + "client_max_body_size 20m;"
    ) as port:
        code, found = asked(port, capsys)
    assert code == 1
    assert found["front"] == "nginx"
    assert results(found)["with_cookies"] == results(found)["tabs"] == results(found)["reconnect"] == "good"
    assert results(found)["without_cookies"] == results(found)["others_cookies"] == "bad"
    assert check(found, "cookies")["says"] == "Cookies: sticky has no SameSite"
    assert check(found, "uploads")["says"] == "A file of 10 MB may be uploaded, one of 100 MB not (413)"


def test_round_robin_and_a_short_idle_limit_are_found_with_what_to_do_in_nginx(capsys):
    location = fronts.PASSES_WEBSOCKETS + "proxy_read_timeout 2s;"
    with fronts.uvicorns_behind_nginx(fronts.ROUND_ROBIN, location) as port:
        code, found = asked(port, capsys, "--patience", "30s")
    assert code == 1
    assert results(found)["with_cookies"] == "bad"
    assert "sticky cookie" in check(found, "with_cookies")["advice"][0]
    assert check(found, "idle")["advice"] == ADVICE["idle"]["nginx"]
    assert 1 < check(found, "idle")["facts"]["seconds"] < 30
    assert check(found, "uploads")["says"] == "A file of 2 MB may not be uploaded (413)"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")
def test_over_tls_the_certificate_is_checked_and_cookies_must_be_secure(tmp_path, capsys, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    made += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(made, check=True, capture_output=True)
    server = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"
    location = fronts.PASSES_WEBSOCKETS + fronts.HASH_COOKIE
    with fronts.uvicorns_behind_nginx(fronts.HASH, location, server=server) as port:
        assert main(["verify", f"https://localhost:{port}"]) == 2
        assert "its certificate is refused: self" in capsys.readouterr().err
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert main(["verify", "--json", *QUICK, f"https://localhost:{port}"]) == 1
        found = json.loads(capsys.readouterr().out)
    assert check(found, "cookies")["says"] == "Cookies: sticky has no SameSite, Secure"
    assert results(found)["with_cookies"] == results(found)["reconnect"] == results(found)["idle"] == "good"


@pytest.mark.slow
def test_a_proxy_that_passes_no_websocket_is_told_of(capsys):
    with fronts.uvicorns_behind_nginx(fronts.ROUND_ROBIN, location="") as port:
        code, found = asked(port, capsys)
    assert code == 1
    assert results(found)["websocket"] == "bad"
    assert "proxy_set_header Upgrade" in check(found, "websocket")["advice"][0]
    assert {results(found)[name] for name in ("with_cookies", "uploads", "reconnect", "idle")} == {"none"}


class Impostor(http.server.BaseHTTPRequestHandler):
    """A site that is none of Shiny's: it answers as the path says, ``/302/``."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "https://login.example/\x1b[2J") if "302" in self.path else None
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("200", "is no page of Shiny's: it names no shiny.js"),
        ("503", "answers with 503"),
        ("401", "answers with 401. If it wants to be signed in to"),
        ("302", "leads to https://login.example/?[2J. If it wants to be signed in to"),
    ],
)
def test_a_page_that_is_none_of_shinys_is_neither_good_nor_bad(capsys, path, says):
    with http.server.HTTPServer(("127.0.0.1", 0), Impostor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code = main(["verify", f"127.0.0.1:{server.server_port}/{path}/"])
        server.shutdown()
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert says in printed.err


def test_where_nobody_answers_that_is_said(capsys):
    assert main(["verify", f"http://127.0.0.1:{free_port()}"]) == 2
    assert "cannot be asked: Connection refused" in capsys.readouterr().err


def test_another_machine_is_asked_only_after_somebody_agreed(capsys, monkeypatch):
    monkeypatch.setattr("socket.create_connection", lambda *_: pytest.fail("something is asked"))
    assert main(["verify", "https://192.0.2.1/"]) == 2
    printed = capsys.readouterr().err
    assert re.search(r"^https://192.0.2.1/ is asked: up to \d+ requests", printed)
    assert "192.0.2.1 is not this machine." in printed
    assert "--yes" in printed


# --- watching


class Watching:
    """A `verify` that runs beside the test.

    Attributes:
        lines: what it has printed so far.
    """

    def __init__(self, port: int, *options: str) -> None:
        command = [*LAUNCHER, "verify", *QUICK, *options, f"http://127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def says(self, pattern: str) -> str:
        """Wait for a line."""
        found = until(lambda: [line for line in self.lines if re.search(pattern, line)], pattern)
        return found[0]

    def end(self, number: int | None = None) -> int:
        """Send it a signal, if one is given, and wait for its end; gives its exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.errors = self.process.stderr.read()
        return code


@contextmanager
def watching(port: int, *options: str) -> Iterator[Watching]:
    watch = Watching(port, *options)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.end()
        watch.process.stdout.close()


@pytest.mark.slow
def test_a_watch_counts_the_sessions_that_a_crash_costs_until_ctrl_c(site_of):
    site = site_of({"app": {"target": str(APPS / "core_app.py"), "workers": 2}}).start()
    with watching(site.port, "--watch") as watch:
        watch.says("^Watching until Ctrl-C")
        lost = site.incarnation("app1")
        site.kill("app1")
        cut = watch.says(r"session \d was cut")
        assert re.search(rf"\(10\d\d, in {lost}\)", cut)
        number = re.search(r"session (\d) was cut", cut)[1]
        watch.says(rf"session {number} has a new one after .*, in app\d\.")
        assert watch.end(signal.SIGINT) == 1
        assert re.search(r"✗ Watched for \d.*: of 6 sessions \d w\w+ cut; \d began anew", watch.says("Watched for"))
        assert watch.says("page loads").startswith("✓ All ")
        assert "Traceback" not in watch.errors


@pytest.mark.slow
def test_a_watched_deploy_loses_nothing(site_of):
    site = site_of({"app": {"target": str(APPS / "core_app.py"), "workers": 2}}).start()
    with watching(site.port, "--watch") as watch:
        watch.says("^Watching until Ctrl-C")
        site.reload()
        assert watch.end(signal.SIGINT) == 0, watch.lines
        assert watch.says("Watched for").startswith("✓ ")
        assert watch.lines[-2].startswith("✓ All ")
        assert watch.lines[-1].startswith("✓ All ")


def test_ctrl_c_ends_the_checks_at_once_and_says_so(site):
    with watching(site.port, "--patience", "5m") as watch:
        watch.says("A page whose connection is cut")
        assert watch.end(signal.SIGINT) == 130
        assert watch.lines[-1].startswith("Stopped after ")
        assert "Traceback" not in watch.errors


# --- the contestants of the benchmarks

OF_COOKIES = {"without_cookies", "others_cookies"}
FAULTS = {
    "Plain": {"with_cookies", "tabs"},
    "Hash": OF_COOKIES,
    "HAProxy": OF_COOKIES,
    "Caddy": OF_COOKIES,
    "UvicornWorkers": {"with_cookies", "tabs"},
    "UvicornAlone": set(),
    "Launched": set(),
}
STICKINESS = OF_COOKIES | {"with_cookies", "tabs"}


@pytest.mark.slow
def test_each_contestant_of_the_benchmarks_has_its_known_fault_and_no_other(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    contestants, backends = (importlib.import_module(name) for name in ("contestants", "backends"))
    missing = importlib.import_module("programs").Missing
    found = {}
    with backends.demo(3) as sockets:
        for name in FAULTS:
            try:
                with getattr(contestants, name)(sockets).running() as contestant:
                    _, told = asked(contestant.port, capsys)
            except missing:
                continue
            found[name] = {check for check, result in results(told).items() if result == "bad"} & STICKINESS
    # Which of uvicorn's processes takes a connection is chance; it may be the same one for a while.
    by_chance = found["UvicornWorkers"]
    assert by_chance and by_chance <= FAULTS["UvicornWorkers"]
    assert found == {name: FAULTS[name] for name in found} | {"UvicornWorkers": by_chance}
    assert found.keys() >= {"Plain", "Hash", "UvicornWorkers", "UvicornAlone", "Launched"}
