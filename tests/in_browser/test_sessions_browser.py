"""A session in Chromium needs no cookie: none allowed at all, in a frame on another site, or one for two tabs."""

import hashlib
import http.server
import os
import threading

import pytest

from support.browser import Demo, Visitor, without_cookies
from support.real_site import ECHO, ROOT, Site

WORKERS = ["app1", "app2", "app3"]
UPLOAD = 50_000_000


@pytest.fixture(scope="module", params=["/", pytest.param("/foo/", marks=pytest.mark.slow)])
def site(browser, request):
    """The demo at / and below a path, and an app beside it that tells which headers have come."""
    apps = {
        "app": {"target": str(ROOT / "app" / "app.py"), "workers": len(WORKERS), "path": request.param},
        "echo": {"target": ECHO, "workers": 1, "path": "/echo/"},
    }
    with Site(apps, frame_ancestors="any") as shared:
        yield shared.start()


@pytest.fixture
def visitor(browser):
    """Somebody who takes cookies."""
    visitor = Visitor(browser)
    yield visitor
    visitor.leave()
    assert visitor.complaints == []


@pytest.fixture
def cookieless(browser, tmp_path):
    """Somebody who has blocked all cookies."""
    visitor = Visitor(without_cookies(browser, tmp_path / "profile"))
    yield visitor
    visitor.leave()
    assert visitor.complaints == []


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """50 MB, and their SHA-256."""
    path = tmp_path_factory.mktemp("files") / "measurements.bin"
    content = os.urandom(UPLOAD)
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


@pytest.fixture
def elsewhere(site):
    """The address of a page on another site (localhost, not 127.0.0.1) that has the demo in a frame."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            demo = f"http://127.0.0.1:{site.port}{site.settings['apps']['app']['path']}"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            frame = f"<iframe name=demo src='{demo}' width=1000 height=900></iframe>"
            self.wfile.write(
                f"<!doctype html><title>Elsewhere</title><link rel=icon href='data:,'>{frame}".encode()
            )

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def uses_everything(demo: Demo, file) -> None:
    """The demo's 100 requests, an upload of 50 MB and two downloads, all at the process that the page shows."""
    path, digest = file
    demo.stays()
    worker, pid = demo.worker, demo.pid
    assert demo.upload(path) == {
        "Name": path.name,
        "Size": "50 MB",  # of UPLOAD bytes
        "SHA-256": digest,
        "Received by": f"{worker} (pid {pid})",
    }
    for _ in range(2):
        name, made_by = demo.download()
        assert name == f"{worker}-{pid}.txt"
        assert (made_by["worker"], made_by["pid"]) == (worker, pid)
    assert (demo.worker, demo.pid) == (worker, pid), "it is still the same session"


def cookies_that_come(frame) -> list[str | None]:
    """The cookies that requests of a page bring along, as the server sees them."""
    ask = "async () => (await (await fetch('/echo/', {cache: 'no-store'})).json()).headers.cookie ?? null"
    return [frame.evaluate(ask) for _ in range(2)]


def test_a_browser_that_blocks_cookies_can_do_everything(site, cookieless, file):
    # Each page comes from the next worker, and so does each websocket; a session's requests would go astray.
    demos = [Demo(cookieless, site) for _ in range(3)]
    for demo in demos:
        uses_everything(demo, file)
        assert cookies_that_come(demo.frame) == [None, None]
    assert len({demo.pid for demo in demos}) > 1
    assert cookieless.context.cookies() == []


@pytest.mark.slow
def test_a_frame_on_another_site_can_do_everything(site, visitor, elsewhere, file):
    # The visitor has been here before, so there is a cookie that the frame could send.
    at_home = Demo(visitor, site)
    at_home.stays()
    before = visitor.context.cookies()
    assert {cookie["sameSite"] for cookie in before} == {"Lax"}

    for _ in range(3):
        page = visitor.context.new_page()
        requests = []
        page.on("request", lambda request, seen=requests: seen.append(request))
        page.goto(elsewhere)
        demo = Demo(visitor, site, frame=page.frame("demo"))
        uses_everything(demo, file)
        assert cookies_that_come(demo.frame) == [None, None]
        to_us = [request for request in requests if f"127.0.0.1:{site.port}" in request.url]
        assert len(to_us) > 100
        assert [request.url for request in to_us if "cookie" in request.all_headers()] == []
        page.close()

    assert visitor.context.cookies() == before, "the frame has changed nothing"
    assert cookies_that_come(at_home.frame) != [None, None], "the test sees cookies where there are some"


@pytest.mark.slow
def test_two_tabs_on_two_workers_with_one_cookie_both_pass_at_once(site, visitor, file):
    tabs = [Demo(visitor, site)]
    tabs[0].stays()
    (cookie,) = visitor.context.cookies()
    other = next(worker for worker in WORKERS if worker != tabs[0].worker)
    visitor.context.add_cookies([{**cookie, "value": other}])  # as a failover or a deploy would
    tabs.append(Demo(visitor, site))
    tabs[1].stays()
    assert tabs[1].worker == other != tabs[0].worker

    for tab in tabs:
        tab.frame.evaluate("document.getElementById('sticky-run').click()")
    for tab in tabs:
        tab.stays()
    for tab in tabs:
        uses_everything(tab, file)
    assert visitor.cookies()["sticky"]["value"] == other
