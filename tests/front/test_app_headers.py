"""An app steers nginx by none of its headers, and a handshake that would wait for ever is refused."""

import socket

import pytest

from support.echo_site import echo_site
from support.real_site import ECHO, PATIENCE, Site


@pytest.fixture(scope="module")
def two():
    """An app that sends what it is asked to, and another that is none of its business."""
    apps = {"app": {"target": ECHO, "workers": 1}, "other": {"target": ECHO, "workers": 1, "path": "/other/"}}
    with Site(apps, cache={"paths": ["/kept/"]}) as site:
        yield site.start()


@pytest.mark.parametrize("path", ["/", "/kept/x", "/lib/x-1.0/y.js"])
@pytest.mark.parametrize("to", ["/other/", "@sticky_any", "@sticky_failed", "/sticky-unavailable.html"])
def test_no_header_of_an_app_leads_into_another_one(two, path, to):
    reply = two.ask(f"{path}?header=X-Accel-Redirect&value={to}")
    assert (reply.status, reply.worker) == (200, "app1")
    assert "X-Accel-Redirect" not in reply.headers


def test_no_header_of_an_app_slows_nginx_down(two):
    """At one byte a second the client would give up."""
    assert two.ask("/kept/slow?header=X-Accel-Limit-Rate&value=1").worker == "app1"


@pytest.mark.parametrize("path", ["/kept/a", "/lib/x-1.0/y.js"])
def test_an_app_cannot_have_kept_what_the_worker_does_not_mark(two, path):
    """A page for one visitor, below a path whose files are kept."""
    for expires in ("3600", "@9999999999"):
        first, second = (two.ask(f"{path}?n={n}&status=203&header=X-Accel-Expires&value={expires}") for n in (1, 2))
        assert (first.json["query"][:3], second.json["query"][:3]) == ("n=1", "n=2")


def test_without_a_cache_an_app_cannot_take_the_cookie_of_a_request_away(site_of):
    """Which nginx leaves out of what is marked to be kept."""
    site = echo_site(site_of, cache=False)
    assert site.ask("/?header=X-Accel-Expires&value=3600").assigned


# --- handshakes


def answer(site: Site, *lines: str, body: bytes = b"") -> bytes:
    """The first line of the answer to a request that asks for a websocket."""
    head = ["GET /ws HTTP/1.1", f"Host: 127.0.0.1:{site.port}", "Upgrade: websocket", "Connection: Upgrade"]
    head += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *lines, "", ""]
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        return connection.recv(65536).split(b"\r\n")[0]


def test_a_handshake_with_a_body_is_refused_at_once(two):
    assert b" 101 " in answer(two)
    assert b" 101 " in answer(two, "Content-Length: 0")
    assert b" 400 " in answer(two, "Content-Length: 5", body=b"hello")
    assert b" 400 " in answer(two, "Content-Length: 5"), "also if it never comes"
    assert b" 400 " in answer(two, "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
    assert two.ask(method="POST", body=b"hello").json["size"] == 5
