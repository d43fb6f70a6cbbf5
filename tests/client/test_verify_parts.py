"""What `verify` is made of: addresses, cookies, caching headers, the websocket, and what a plan may cost."""

import email
import socket
import threading

import click
import pytest

from shiny_sticky.client.address import Address, NoAddress
from shiny_sticky.client.shiny_protocol import is_page, websocket_of
from shiny_sticky.client.traffic import Stopped, Traffic
from shiny_sticky.client.verify.command import read_headers
from shiny_sticky.client.verify.cookies import cookie_faults
from shiny_sticky.client.verify.findings import Finding, Report
from shiny_sticky.client.verify.fronts import ADVICE, advice, front_of
from shiny_sticky.client.verify.page import is_fresh_later
from shiny_sticky.client.verify.plan import Plan, spoken
from shiny_sticky.client.verify.run import CannotAsk
from shiny_sticky.client.visitor import Reply, Visitor
from shiny_sticky.client.websocket import Closed, WebSocket
from shiny_sticky.client_commands import Duration
from support.waiting import PATIENCE

PAGE = Address.parse("https://apps.example/lab/")


def headers(**values: str):
    return email.message_from_string(
        "".join(f"{name.replace('_', '-')}: {text}\n" for name, text in values.items())
    )


@pytest.mark.parametrize(
    ("text", "is_read_as"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080/lab/?a=1", "http://[::1]:8080/lab/?a=1"),
        ("https://apps.example", "https://apps.example/"),
        ("https://apps.example:443/a b", "https://apps.example/a%20b"),
        ("https://bücher.example/ü?q=ä", "https://xn--bcher-kva.example/%C3%BC?q=%C3%A4"),
    ],
)
def test_an_address_is_read_as_a_browser_reads_it(text, is_read_as):
    assert str(Address.parse(text)) == is_read_as


@pytest.mark.parametrize(
    "text", ["ftp://a/", "http://", "http://a:99999/", "http://a:b/", f"http://{'a' * 64}.example/"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(NoAddress):
        Address.parse(text)


def test_headers_are_given_as_they_are_sent():
    assert read_headers(["Cookie: a=b; c=d", "X-Empty:"]) == {"Cookie": "a=b; c=d", "X-Empty": ""}


@pytest.mark.parametrize("line", ["Cookie", ": a", "A B: c", "A: b\r\nC: d", "A: –"])
def test_what_is_no_header_is_refused(line):
    with pytest.raises(CannotAsk):
        read_headers([line])


def test_this_machine_is_what_is_not_asked_about():
    assert Address.parse("localhost").is_this_machine()
    assert Address.parse("127.1.2.3").is_this_machine()
    assert not Address.parse("192.0.2.1").is_this_machine()
    assert not Address.parse("no-such-host.invalid").is_this_machine()


@pytest.mark.parametrize(
    ("attributes", "faults"),
    [
        (["Path=/", "HttpOnly", "SameSite=Lax", "Secure"], []),
        (["Path=/lab/", "HttpOnly", "SameSite=Lax", "Secure"], []),
        (["Path=/lab", "HttpOnly", "SameSite=Lax", "Secure"], []),
        (["path=/", "secure"], ["has no HttpOnly, SameSite"]),
        (["HttpOnly", "SameSite=Lax"], ["has no Secure"]),
        (
            ["HttpOnly", "SameSite=None"],
            ["has no Secure", "is refused by browsers: SameSite=None without Secure"],
        ),
        (["Path=/other/", "HttpOnly", "SameSite=Lax", "Secure"], ["does not come back to the page: Path=/other/"]),
        (["Path=/la", "HttpOnly", "SameSite=Lax", "Secure"], ["does not come back to the page: Path=/la"]),
    ],
)
def test_what_a_cookie_lacks_is_named(attributes, faults):
    assert list(cookie_faults(PAGE, attributes)) == faults


@pytest.mark.parametrize(
    ("given", "is_fresh"),
    [
        ({"Cache_Control": "public, max-age=31536000, immutable"}, True),
        ({"Cache_Control": "max-age=0"}, False),
        ({"Cache_Control": "no-cache, max-age=60"}, False),
        ({"Cache_Control": "no-store"}, False),
        ({"Expires": "Thu, 31 Dec 2037 23:55:55 GMT"}, True),
        ({"Expires": "0"}, False),
        ({"Expires": "-1"}, False),
        ({"ETag": '"a"'}, False),
    ],
)
def test_a_file_is_fresh_later_if_its_headers_say_so(given, is_fresh):
    assert is_fresh_later(Reply(PAGE, 200, headers(**given), b"")) is is_fresh


@pytest.mark.parametrize(
    ("given", "cookies", "front"),
    [
        ({"Server": "nginx/1.26.3"}, ["sticky"], "nginx"),
        ({"Server": "nginx"}, ["INGRESSCOOKIE"], "ingress-nginx"),
        ({"Server": "uvicorn", "Via": "1.1 Caddy"}, [], "Caddy"),
        ({"Server": "uvicorn"}, [], "uvicorn"),
        ({"Server": "uvicorn"}, ["sticky"], ""),
        ({}, [], ""),
    ],
)
def test_the_program_in_front_is_known_by_what_it_says(given, cookies, front):
    assert front_of(headers(**given), cookies) == front


def test_advice_is_that_of_the_program_that_has_the_setting():
    """shiny-sticky behind a proxy has an upload limit of its own, and no idle limit."""
    behind_caddy = ["shiny-sticky", "Caddy"]
    assert advice("uploads", behind_caddy) == ADVICE["uploads"]["shiny-sticky"]
    assert advice("compression", behind_caddy) == ADVICE["compression"]["Caddy"]
    assert advice("reconnect", behind_caddy) == ADVICE["reconnect"][""]


def test_there_is_advice_for_each_check_whatever_is_in_front():
    assert [check for check, by_front in ADVICE.items() if not by_front[""]] == []


def test_a_page_of_shinys_is_known_by_its_script():
    assert is_page('<script src="lib/shiny-1.8.0/shiny.min.js"></script>')
    assert is_page("<script defer src='https://cdn.example/lib/shiny/shiny.js?v=2'>")
    assert not is_page('<script src="lib/shinyapps/app.js"></script> Shiny')


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("0.5s", 0.5), ("5m", 300), ("1h", 3600)])
def test_a_time_has_a_unit_or_is_seconds(text, seconds):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["5 minutes", "-1", "m", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("page", "websocket"),
    [
        ("https://a.example/", "https://a.example/websocket/"),
        ("https://a.example/lab?x=1", "https://a.example/lab/websocket/"),
        ("https://a.example/lab/", "https://a.example/lab/websocket/"),
    ],
)
def test_a_websocket_is_where_shinys_script_opens_it(page, websocket):
    assert str(websocket_of(Address.parse(page))) == websocket


def test_what_a_site_says_does_nothing_to_the_terminal(capsys):
    Report().add(Finding("page_caching", "bad", "Cache-Control: \x1b]0;owned\x07", ["\x1b[2J"]))
    printed = capsys.readouterr().out
    assert printed == "✗ Cache-Control: ?]0;owned?\n    ?[2J\n"


def test_a_time_is_spoken_as_people_write_it():
    assert [spoken(seconds) for seconds in (0.012, 1.5, 10, 90, 300)] == [
        "0.012 s",
        "1.5 s",
        "10 s",
        "90 s",
        "5 min",
    ]


def test_nothing_is_sent_beyond_what_was_said():
    traffic = Traffic(requests=2, websockets=0)
    traffic.count_request()
    traffic.count_request()
    with pytest.raises(Stopped):
        traffic.count_request()
    with pytest.raises(Stopped):
        traffic.count_websocket()
    assert traffic.requests == 2


def test_a_watch_without_an_end_has_no_bound_and_says_its_rate():
    plan = Plan(sessions=8, watch=True)
    assert plan.most_requests() is plan.most_websockets() is None
    assert plan.announced().endswith("then 5 requests a second until Ctrl-C")


def test_cookies_are_kept_by_their_paths_and_lent_to_others():
    visitor = Visitor(Traffic())
    given = email.message_from_string("Set-Cookie: a=1; Path=/\nSet-Cookie: b=2; Path=/lab/\n")
    visitor._keep(PAGE, given)
    assert visitor._sent(PAGE)["Cookie"] == "b=2; a=1"
    assert visitor._sent(PAGE.relative("/"))["Cookie"] == "a=1"
    assert Visitor(Traffic()).with_cookies_of(visitor).cookies == {"a": "1", "b": "2"}
    assert visitor.blocking_cookies().cookies == {}
    assert Visitor(Traffic(), {"cookie": "signed=in"}).blocking_cookies()._sent(PAGE)["Cookie"] == "signed=in"


# --- the websocket, to a server that says what a test wants

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.fixture
def opened():
    """A factory of websockets whose server answers with some bytes; gives the websocket and the server's end."""
    listener = socket.create_server(("127.0.0.1", 0))
    traffic = Traffic()
    ends = []

    def answer(data: bytes) -> None:
        connection, _ = listener.accept()
        ends.append(connection)
        while not connection.recv(4096).endswith(b"\r\n\r\n"):
            pass
        connection.sendall(data)

    def make(data: bytes) -> tuple[WebSocket, socket.socket]:
        server = threading.Thread(target=answer, args=(ANSWER + data,), daemon=True)
        server.start()
        websocket = WebSocket.open(traffic, Address.parse(f"127.0.0.1:{listener.getsockname()[1]}"), {})
        server.join(PATIENCE)
        return websocket, ends[-1]

    yield make
    traffic.stop()
    for connection in [listener, *ends]:
        connection.close()


def test_messages_come_whole_however_they_were_sent(opened):
    """The first is with the handshake's answer, the next in two frames with a ping between, then bytes."""
    websocket, server = opened(b"\x81\x03one")
    server.sendall(b"\x01\x02tw\x89\x01?\x80\x01o")
    server.sendall(b"\x82\x02\x00\xff")
    assert [websocket.receive(PATIENCE) for _ in range(3)] == ["one", "two", b"\x00\xff"]
    assert websocket.pings == 1
    assert server.recv(2) == b"\x8a\x81", "the ping was answered, with a mask"


def test_the_end_of_a_websocket_has_the_code_that_the_server_gave(opened):
    websocket, server = opened(b"")
    server.sendall(b"\x88\x02\x03\xf4")
    with pytest.raises(Closed, match="1012"):
        websocket.receive(PATIENCE)
    with pytest.raises(Closed):
        websocket.send("too late")
    websocket.close()
    broken, server = opened(b"")
    server.close()
    with pytest.raises(Closed, match="1006"):
        broken.receive(PATIENCE)


def test_silence_is_no_end(opened):
    websocket, _ = opened(b"")
    with pytest.raises(TimeoutError):
        websocket.receive(0.05)
