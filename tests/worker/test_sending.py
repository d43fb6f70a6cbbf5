"""What an app sends has left the worker when `send` returns, and how a worker closes connections."""

import http.client
import json
import socket
import struct
import threading

import pytest

from support.interpreter import interpreter
from support.real_site import APPS, ECHO, PATIENCE, ROOT, Site, until
from support.shiny_session import ShinySession

DEMO = str(ROOT / "app" / "app.py")
BLOCKING = {"target": str(APPS / "blocking.py"), "workers": 1}

# What an interpreter lacks, or has otherwise, and what the worker then serves with.
OLD_UVLOOP = '__version__ = "0.22.1"\ndef new_event_loop():\n    raise AssertionError("it writes too late")\n'
INTERPRETERS = {
    "as installed": ({}, ["uvloop", "httptools_impl", "websockets_sansio_impl"]),
    "no uvloop": ({"missing": ("uvloop",)}, ["asyncio", "httptools_impl", "websockets_sansio_impl"]),
    "uvloop 0.22": (
        {"modules": {"uvloop": OLD_UVLOOP}},
        ["asyncio", "httptools_impl", "websockets_sansio_impl"],
    ),
    "wsproto": ({"missing": ("websockets",)}, ["uvloop", "httptools_impl", "wsproto_impl"]),
    "h11": ({"missing": ("httptools",)}, ["uvloop", "h11_impl", "websockets_sansio_impl"]),
    "uvicorn alone, and wsproto": (
        {"missing": ("httptools", "uvloop", "websockets")},
        ["asyncio", "h11_impl", "wsproto_impl"],
    ),
}

QUICK = ("as installed", "uvicorn alone, and wsproto")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in INTERPRETERS],
)
def blocking(request):
    """A worker whose computations keep the event loop from everything else, in each of the interpreters."""
    different, serves_with = INTERPRETERS[request.param]
    with Site({"app": {**BLOCKING, "python": "venv"}}) as site:
        interpreter(site.folder / "venv", **different)
        site.start()
        site.serves_with = serves_with
        yield site


def test_a_message_arrives_while_the_computation_that_sent_it_goes_on(blocking, tmp_path):
    connection = blocking.websocket("/")
    assert json.loads(connection.recv()) == blocking.serves_with
    connection.settimeout(PATIENCE)
    connection.send(str(tmp_path / "end"))
    for step in ("begun", "half done"):
        assert connection.recv() == step
        (tmp_path / f"end {step}").touch()
    assert connection.recv() == "done"
    connection.close()


def test_a_piece_of_a_response_arrives_while_the_computation_that_sent_it_goes_on(blocking, tmp_path):
    connection = http.client.HTTPConnection("127.0.0.1", blocking.port, timeout=PATIENCE)
    connection.request("GET", f"/?{tmp_path / 'end'}")
    response = connection.getresponse()
    for step in ("begun", "half done"):
        assert response.read1() == step.encode()
        (tmp_path / f"end {step}").touch()
    assert response.read() == b"done"
    connection.close()


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_shiny_page_is_told_of_busyness_and_of_each_step_of_its_progress_as_they_come(site_of, tmp_path, preload):
    app = {"target": str(APPS / "progress_app.py"), "workers": 1, "preload": preload}
    site = site_of({"app": {**app, "env": {"STEPS_MAY_END": str(tmp_path)}}}).start()
    with ShinySession(site.port, outputs=("answer",)) as session:
        for step in range(1, 6):
            told = session.until(
                lambda step=step: [text for text in session.received if f"step {step}" in text], f"step {step}"
            )
            assert json.loads(told[0])["progress"]["type"] == "update"
            assert '{"busy": "busy"}' in map(normal, session.received)
            assert "answer" not in session.values
            (tmp_path / str(step)).touch()
        assert session.output("answer") == "computed"


def normal(text: str) -> str:
    """JSON as Python writes it."""
    return json.dumps(json.loads(text))


def test_a_websocket_sends_nothing_twice_and_nothing_late_however_much_it_is(site_of, tmp_path):
    """More than sockets take at once: the rest follows in order."""
    site = site_of({"app": {"target": str(APPS / "parrot.py"), "workers": 1}}).start()
    connection = site.websocket("/")
    messages = [f"{number}:" + "x" * 40_000 for number in range(100)]
    reader = []
    thread = threading.Thread(target=lambda: reader.extend(connection.recv() for _ in messages))
    for message in messages[:50]:  # nobody reads yet
        connection.send(message)
    thread.start()
    for message in messages[50:]:
        connection.send(message)
    thread.join(PATIENCE)
    assert reader == messages
    connection.close()


# --- the end of a connection

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PAGE = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


def text_frame(size: int) -> bytes:
    """A client's frame, masked with zeros."""
    return b"\x81\xfe" + struct.pack("!H", size) + bytes(4) + b"x" * size


@pytest.mark.parametrize("begin", [HANDSHAKE + text_frame(200) * 20, PAGE * 20], ids=["websocket", "page"])
def test_a_connection_that_is_reset_while_something_is_sent_is_no_exception(site_of, begin):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    for number in range(60):
        with socket.socket(socket.AF_UNIX) as nginx:
            nginx.connect(str(site.run_dir / "app1.sock"))
            nginx.sendall(begin)
            if number % 2:
                nginx.recv(1)  # the rest stays unread, and so the connection is reset
    assert site.ask().status == 200
    assert site.stop() == 0
    assert not site.said("Exception|Error|Traceback"), "\n".join(site.lines)


def problems(site: Site) -> list[str]:
    """What nginx has logged, but for notices: some versions greet at the start."""
    lines = (site.run_dir / "nginx-error.log").read_text().splitlines()
    return [line for line in lines if "[notice]" not in line]


def test_sessions_that_are_open_at_the_stop_end_with_1012_and_without_an_error_in_nginx(site_of):
    site = site_of({"app": {"target": DEMO, "workers": 2}}, stop={"drain_timeout": 1}).start()
    sessions = [ShinySession(site.port, outputs=("worker", "pid")) for _ in range(10)]
    for session in sessions:
        session.open()
    for session in sessions:
        session.output("pid")
    assert site.stop() == 0
    for session in sessions:
        until(lambda session=session: session.close_code, "the websocket is closed")
    assert [session.close_code for session in sessions] == [1012] * 10
    assert problems(site) == []
