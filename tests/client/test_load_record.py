"""`load record`: a visit goes through a proxy on this machine, and is in a file when its page is closed."""

import http.client
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
import websocket
from playwright.sync_api import expect

from shiny_sticky.client.load import recording
from shiny_sticky.client.load.recording import Kind
from support.browser import chromium
from support.known_delays import KnownDelays
from support.real_site import APPS, LAUNCHER, Site
from support.tab import session_id
from support.waiting import PATIENCE


class Proxy:
    """A `load record` that runs.

    Args:
        folder: where it writes visit.jsonl.
        target: what is recorded.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self.file = folder / "visit.jsonl"
        words = ["load", "record", target, "-o", self.file, "--no-browser", "-H", "X-Key: 7"]
        self._process = subprocess.Popen([*LAUNCHER, *words], stdout=subprocess.PIPE, text=True)
        self.url = re.search(r"http://\S+/", self._process.stdout.readline())[0]
        self.host = self.url.removeprefix("http://").rstrip("/")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        assert not response.getheader("Set-Cookie"), "the site's cookies are the proxy's business"
        return response.status

    def ended(self) -> str:
        """What it says at its end, which is now."""
        said, _ = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0
        return said

    def interrupted(self) -> tuple[int, str]:
        """Its exit code after a Ctrl-C, and what it says then, up to where the file is."""
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, said.partition(" /")[0]

    def stop(self) -> None:
        """End it, should it still run."""
        self._process.kill()
        self._process.communicate()

    def events(self) -> list[tuple[str, str]]:
        read = recording.read(self.file).events
        return [(event.kind.value, event.url or event.message) for event in read]


@pytest.fixture
def proxy_of(tmp_path):
    """A factory of proxies; all are ended with the test."""
    proxies = []

    def make(target: str) -> Proxy:
        proxies.append(Proxy(tmp_path, target))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


def test_what_a_visitor_does_is_recorded_without_what_is_the_session_s_own(tmp_path, proxy_of):
    server = KnownDelays()
    with server.served() as url:
        proxy = proxy_of(url + "some/app/")
        assert proxy.ask("GET", "/?a=1", Cookie="sticky=of-another-port") == 200
        assert proxy.ask("GET", "/favicon.ico") == 200
        assert proxy.ask("GET", "/lib/a.js") == 200
        origin = proxy.url.rstrip("/")
        page = websocket.create_connection(f"ws://{proxy.host}/websocket/", timeout=PATIENCE, origin=origin)
        session = json.loads(page.recv())["config"]["sessionId"]
        page.send(json.dumps({"method": "init", "data": {"x": 1}}))
        assert "busy" in page.recv()
        assert "values" in page.recv()
        page.send(json.dumps({"method": "uploadInit", "args": [[]], "tag": 0}))
        upload = json.loads(page.recv())["response"]["value"]["uploadUrl"]
        assert proxy.ask("POST", f"/{upload}", b"hello") == 200
        assert proxy.ask("GET", f"/session/{session}/download/d?w=") == 200
        page.close()
        said = proxy.ended()
    assert "The page was closed. 11 events are in" in said
    assert "visit.jsonl.post.0; keep it beside the recording." in said
    assert (tmp_path / "visit.jsonl.post.0").read_bytes() == b"hello"
    kinds, texts = zip(*proxy.events(), strict=True)
    assert kinds == (
        "REQ_HOME",
        "REQ_GET",
        "WS_OPEN",
        "WS_RECV_INIT",
        "WS_SEND",
        "WS_RECV",
        "WS_SEND",
        "WS_RECV_BEGIN_UPLOAD",
        "REQ_POST",
        "REQ_GET",
        "WS_CLOSE",
    )
    assert texts[0] == "/?a=1"
    assert texts[8] == "/session/${SESSION}/upload/${UPLOAD_JOB_ID}?w="
    assert texts[9] == "/session/${SESSION}/download/d?w="
    assert session not in proxy.file.read_text()
    assert all(headers["x-key"] == "7" and headers["host"] in url for headers in server.headers)
    assert [headers.get("cookie") for headers in server.headers[:2]] == [None, "sticky=app2"]
    assert server.requests[0] == "/some/app/"


def test_other_pages_get_nothing_through_the_proxy(proxy_of):
    """What the site is told for the one who records is not for any page that finds the port."""
    server = KnownDelays()
    with server.served() as url:
        proxy = proxy_of(url)
        assert proxy.ask("GET", "/", Host="evil.example") == 403
        assert proxy.ask("POST", "/", b"x", Origin="http://evil.example") == 403
        with pytest.raises(websocket.WebSocketBadStatusException):
            websocket.create_connection(f"ws://{proxy.host}/websocket/", origin="http://evil.example")
        assert not server.requests
        websocket.create_connection(f"ws://{proxy.host}/websocket/", origin=proxy.url.rstrip("/")).close()
        proxy.ended()


def test_ctrl_c_ends_it_with_what_was_recorded_so_far(proxy_of):
    with KnownDelays().served() as url:
        proxy = proxy_of(url)
        assert proxy.ask("GET", "/") == 200
        assert proxy.interrupted() == (130, "Ended before the page was closed. 1 event is in")
    assert "REQ_HOME" in proxy.file.read_text()


def test_a_site_that_does_not_answer_is_named(tmp_path):
    ran = subprocess.run(
        [*LAUNCHER, "load", "record", "http://127.0.0.1:1/"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert ran.returncode == 1
    assert "Nothing answers at http://127.0.0.1:1/: no connection (" in ran.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_visit_in_a_browser_can_be_played(tmp_path, proxy_of):
    """A real site and Chromium: page, input, upload, selectize and download, then ten others do the same."""
    with Site({"app": {"target": str(APPS / "visited.py"), "workers": 2}}) as site:
        site.start()
        url = f"http://127.0.0.1:{site.port}/"
        proxy = proxy_of(url)
        with chromium() as browser:
            page = browser.new_page()
            page.goto(proxy.url)
            session_id(page)
            page.evaluate("Shiny.setInputValue('n', 42)")
            expect(page.locator("#twice")).to_have_text("84")
            file = {"name": "x.txt", "mimeType": "text/plain", "buffer": b"hello" * 100}
            page.set_input_files("#file", [file])
            expect(page.locator("#size")).to_have_text("500 bytes")
            page.locator("#town-selectized").fill("town 19")
            expect(page.locator(".selectize-dropdown")).to_contain_text("town 199")
            page.locator("body").click(position={"x": 2, "y": 2})
            with page.expect_download():
                page.locator("#report").click()
            page.close()
        assert "The page was closed" in proxy.ended()
        kinds = {kind for kind, _ in proxy.events()}
        assert kinds >= {each.value for each in (Kind.PAGE, Kind.POST, Kind.BEGIN_UPLOAD, Kind.CLOSE)}
        found = tmp_path / "load.jsonl"
        words = ["load", "play", proxy.file, url, "--users", "10", "--for", "10", "-o", found, "--p95", "20000"]
        words += ["--site", site.config]
        ran = subprocess.run([*LAUNCHER, *words], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert '"fault"' not in found.read_text().replace('"fault": ""', ""), found.read_text()
        assert "With 2 workers this machine holds at least 10 users of this visit within 20 s" in ran.stdout
        assert site.stop() == 0
