"""Pages of other sites open no websocket here, and show no page of an app's in a frame."""

import json

import pytest
import websocket

from support.real_site import ECHO, Site

ONE = {"app": {"target": ECHO, "workers": 1}}


@pytest.fixture(scope="module")
def behind_proxy():
    """A site that believes the proxy that the tests play, and lets one more site in."""
    allowed = ["https://portal.example", "https://portal.example:8443", "vscode-webview://a.b"]
    with Site(
        ONE, trusted_proxies=["127.0.0.1"], allowed_origins=allowed, frame_ancestors=["https://*.lab"]
    ) as site:
        yield site.start()


@pytest.fixture(scope="module")
def plain():
    with Site(ONE) as site:
        yield site.start()


def opens(site: Site, origin: str | None, **headers: str) -> bool:
    """Whether a page of that origin may open a websocket; if not, it must be told what to set."""
    sent = {"Host": f"127.0.0.1:{site.port}", **headers}
    choice = {"suppress_origin": True} if origin is None else {"origin": origin}
    host = sent.pop("Host")
    try:
        socket = site.websocket(header=[f"{name}: {value}" for name, value in sent.items()], host=host, **choice)
    except websocket.WebSocketBadStatusException as refused:
        assert refused.status_code == 403
        assert f"allowed_origins: [{origin}]" in refused.resp_body.decode()
        assert refused.resp_headers["content-type"] == "text/plain"
        return False
    assert json.loads(socket.recv())["worker"] == "app1"
    socket.close()
    return True


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://lab.example", "lab.example"),
        ("https://lab.example", "lab.example"),
        ("https://lab.example:8443", "lab.example:8443"),
        ("https://lab.example", "lab.example:443"),
        ("http://lab.example:80", "lab.example"),
        ("http://LAB.example", "lab.Example"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[::1]", "[::1]"),
        (None, "lab.example"),
    ],
)
def test_pages_of_the_host_itself_and_programs_that_are_no_browser_open_websockets(plain, origin, host):
    assert opens(plain, origin, Host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "lab.example"),
        ("https://lab.example.evil.example", "lab.example"),
        ("https://evil-lab.example", "lab.example"),
        ("https://lab.example", "lab.example.org"),
        ("https://labxexample", "lab.example"),
        ("http://lab.example:8081", "lab.example:8080"),
        ("http://lab.example:8081", "lab.example"),
        ("http://lab.example", "lab.example:8080"),
        ("http://[::1]:1", "[::1]:2"),
        ("null", "lab.example"),
        ("file://", "lab.example"),
        ("lab.example", "lab.example"),
    ],
)
def test_pages_of_others_do_not(plain, origin, host):
    assert not opens(plain, origin, Host=host)


def test_nobody_becomes_this_site_by_a_header_that_only_a_trusted_proxy_may_send(plain):
    assert not opens(plain, "https://evil.example", **{"X-Forwarded-Host": "evil.example"})


def test_behind_a_trusted_proxy_the_host_that_browsers_ask_for_counts(behind_proxy):
    assert opens(behind_proxy, "https://lab.example", **{"X-Forwarded-Host": "lab.example"})
    assert opens(behind_proxy, "https://lab.example:8443", **{"X-Forwarded-Host": "lab.example:8443"})
    assert opens(behind_proxy, "https://lab.example", **{"X-Forwarded-Host": "lab.example, inner.example"})
    assert opens(behind_proxy, "https://lab.example", Host="lab.example")
    assert not opens(behind_proxy, "https://evil.example", **{"X-Forwarded-Host": "lab.example"})
    assert not opens(behind_proxy, "https://inner", Host="inner", **{"X-Forwarded-Host": "lab.example"})


def test_other_sites_open_websockets_if_the_settings_name_them(behind_proxy):
    for origin in ("https://portal.example", "https://portal.example:8443", "vscode-webview://a.b"):
        assert opens(behind_proxy, origin)
    for origin in (
        "http://portal.example",
        "https://portal.example:1",
        "https://portalxexample",
        "https://x.portal.example",
    ):
        assert not opens(behind_proxy, origin)


def test_a_session_of_a_visitor_is_not_opened_by_a_page_elsewhere_with_the_cookie(plain):
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        plain.websocket(cookie="sticky=app1", origin="https://evil.example")


def test_requests_that_are_no_websocket_may_come_from_anywhere(plain):
    assert plain.ask(headers={"Origin": "https://evil.example"}).status == 200
    assert plain.ask(method="POST", body=b"x", headers={"Origin": "https://evil.example"}).status == 200


# --- frames


def policies(reply) -> list[str]:
    return reply.headers.get_all("Content-Security-Policy") or []


@pytest.mark.parametrize("path", ["/", "/?status=404", "/lib/x-1.0/y.js", "/session/app1.zzzz-1/"])
def test_pages_may_be_shown_by_the_site_itself_alone(plain, path):
    reply = plain.ask(path)
    if reply.status != 410:  # which nginx says itself
        assert policies(reply) == ["frame-ancestors 'self'"]


def test_other_sites_show_pages_if_the_settings_name_them(behind_proxy, site_of):
    assert policies(behind_proxy.ask()) == ["frame-ancestors 'self' https://*.lab"]
    assert policies(site_of(ONE, frame_ancestors="any").start().ask()) == []


def test_an_app_that_says_who_may_show_it_has_the_last_word(plain):
    own = "default-src 'self'; frame-ancestors https://portal.example"
    assert policies(plain.ask(f"/?header=Content-Security-Policy&value={own.replace(' ', '%20')}")) == [own]
    other = "default-src 'self'"
    said = policies(plain.ask(f"/?header=Content-Security-Policy&value={other.replace(' ', '%20')}"))
    assert said == [other, "frame-ancestors 'self'"]
