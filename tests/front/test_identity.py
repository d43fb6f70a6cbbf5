"""Nobody sends the headers by which proxies tell an app who the user is, in whatever spelling."""

import json
import socket

import pytest

from shiny_sticky.front.identity import IDENTITY_HEADERS, stripped
from support.real_site import ECHO, Site, until

ALL = [name for names in IDENTITY_HEADERS.values() for name in names]
BOSS = '{"user": "boss"}'

# What the row of products sends; a prefix each, so that one left out of the table shows.
PREFIXES = [
    "cf-access-",
    "x-authentik-",
    "tailscale-",
    "x-goog-",
    "x-ms-client-",
    "x-ms-token-",
    "x-auth-request-",
    "remote-",
    "x-amzn-oidc-",
    "x-pomerium-",
]


def arrived(site: Site, headers: list[tuple[str, str]]) -> dict[str, str]:
    """The headers that the app gets; each may be sent more than once, and in any spelling."""
    lines = [f"{name}: {value}" for name, value in [("Host", "here"), ("Connection", "close"), *headers]]
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall("\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode())
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), reply
    return json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["headers"]


def test_no_identity_header_of_a_client_reaches_the_app(site):
    seen = arrived(site, [("X-Other", "passes"), *((name, BOSS) for name in ALL)])
    assert seen["x-other"] == "passes"
    assert "boss" not in json.dumps(seen)


@pytest.mark.parametrize(
    "spell", [str.upper, str.lower, lambda name: name.replace("-", "_"), lambda name: f"{name} "]
)
def test_nor_does_one_in_another_spelling(site, spell):
    """nginx refuses or drops what is no header's name. Some apps make hyphens of underscores."""
    for start in range(0, len(ALL), 40):
        names = [spell(name) for name in ALL[start : start + 40]]
        try:
            seen = arrived(site, [(name, BOSS) for name in names])
        except AssertionError as refused:
            assert " 400 " in str(refused)
        else:
            assert "boss" not in json.dumps(seen)


def test_nor_does_one_that_is_sent_twice(site):
    seen = arrived(site, [(name, value) for name in ALL[:40] for value in (BOSS, "", BOSS)])
    assert "boss" not in json.dumps(seen)


def test_a_websocket_brings_none_along(site):
    """Shiny reads the user from the handshake; the app tells what it got."""
    socket = site.websocket(header=[f"{name}: {BOSS}" for name in ALL[:60]])
    socket.recv()
    socket.send("headers")
    assert "boss" not in socket.recv()
    socket.close()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_product_has_its_headers_in_the_table(prefix):
    assert any(name.lower().startswith(prefix) for name in ALL)


def test_no_name_stands_twice_in_the_table():
    assert len({name.lower() for name in ALL}) == len(ALL)


def test_what_trusted_proxies_may_send_is_taken_out_of_the_table_in_any_case():
    left = stripped(["remote-USER", "Cf-Access-Jwt-Assertion", "Cf-Access-Authenticated-User-Email"])
    assert "Remote-User" not in left["Apache, Authelia, Tinyauth"]
    assert "Cloudflare Access" not in left


def test_a_header_that_is_passed_comes_from_trusted_proxies_alone(site_of):
    """Also one of a product's that has others: those do not come along."""
    one = {"app": {"target": ECHO, "workers": 1}}
    passed = ["Cf-Access-Authenticated-User-Email"]
    trusting = site_of(one, trusted_proxies=["127.0.0.1"], identity_headers=passed).start()
    wary = site_of(one, trusted_proxies=["192.0.2.1"], identity_headers=passed).start()
    sent = [("cf-access-authenticated-user-email", "ann"), ("Cf-Access-Jwt-Assertion", BOSS)]
    seen = arrived(trusting, sent)
    assert seen["cf-access-authenticated-user-email"] == "ann"
    assert "cf-access-jwt-assertion" not in seen
    assert not any(name.startswith("cf-access") for name in arrived(wary, sent))


def test_a_configuration_with_all_of_them_makes_nginx_warn_of_nothing(site):
    errors = site.run_dir / "nginx-error.log"
    assert until(errors.exists, "nginx has a log")
    assert "[warn]" not in errors.read_text()
