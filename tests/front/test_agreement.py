"""Map and njs give the same answer for every cookie, and so does the rule, written once more in Python."""

import contextlib
import re
import socket
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.settings.names import seat_names
from shiny_sticky.settings.read import load
from shiny_sticky.supervision.pool import KINDS
from support.real_site import ECHO, NGINX, Site, free_port, until
from support.routing_rule import rule

WORKERS = [f"app{number}" for number in range(1, 13)]  # two digits, so that app1 begins other names

PIECES = [
    b"sticky",
    b"sticky=",
    b"=",
    b";",
    b"; ",
    b" ",
    b"\t",
    b",",
    b'"',
    b"app",
    b"1",
    b"0",
    b"x",
    b"APP1",
    b"STICKY=",
]
PIECES += [name.encode() for name in (*WORKERS, "app0", "app13", "app99", "app01", "app1.sock", "app_pool")]
PIECES += [b"\xff", "é".encode(), "\u00a0".encode(), b"\x0b", b"\x85", b"\x7f", b"%61", b"../", b"$1", b"\\1"]

# What a header may hold: everything but the ends of lines and NUL, which nginx answers with 400.
raw_bytes = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\0\r\n"))
short = st.lists(st.sampled_from(PIECES) | raw_bytes, max_size=12).map(b"".join)

# Long lines are read by another pattern than short ones.
padding = st.sampled_from([b"x", b";", b" ", b"; ", b"sticky=", b"sticky=app1x;"]).map(lambda piece: piece * 1000)
cookies = short | st.tuples(short, padding.map(lambda pad: pad[:1100]), short).map(b"".join)


@pytest.fixture(scope="module")
def fronts():
    """Ports of two nginx over the same backends: one as shipped, one in which njs answers for every cookie.

    The backends are one more nginx: it answers whatever bytes a cookie has, while uvicorn refuses some.
    """
    with Site({"app": {"target": ECHO, "workers": len(WORKERS)}}) as site, contextlib.ExitStack() as running:
        (site.run_dir / "tmp").mkdir(parents=True)
        for kind in KINDS:
            (site.run_dir / kind).mkdir()
        for seat, worker in zip(seat_names("app", len(WORKERS)), WORKERS, strict=True):
            for kind in KINDS:
                (site.run_dir / kind / f"{seat}.sock").symlink_to(f"../{worker}.sock")
        chosen = load(site.config)
        program = nginx_program.find(NGINX)

        def start(name: str, text: str) -> None:
            conf = site.folder / f"{name}.conf"
            conf.write_text(text.replace("/nginx.pid", f"/{name}.pid"))
            process = subprocess.Popen([program.path, "-e", "stderr", "-c", str(conf), "-g", "daemon off;"])
            running.callback(process.wait)
            running.callback(process.terminate)

        names = "".join(
            f"server {{ listen unix:{site.run_dir}/{n}.sock; add_header X-Sticky-Worker {n}; return 200 {n}; }}\n"
            for n in WORKERS
        )
        paths = "".join(f"{n}_temp_path {site.run_dir}/tmp/{n}; " for n in ("client_body", "proxy"))
        paths += "".join(f"{n}_temp_path {site.run_dir}/tmp/{n}; " for n in program.other_upstreams)
        start("backends", f"pid {site.run_dir}/nginx.pid; events {{}} http {{ access_log off; {paths}{names} }}")
        ports = {}
        for name, changed in (("map", str), ("njs", without_the_map)):
            ports[name] = free_port()
            here = chosen.model_copy(update={"listen": [f"127.0.0.1:{ports[name]}"]})
            start(name, changed(configuration.render(here, program, "for a test")))
        for port in ports.values():
            until(lambda port=port: answers(port), "nginx listens")
        until(lambda: len(list(site.run_dir.glob("*.sock"))) == len(WORKERS), "the backends listen")
        yield ports


def without_the_map(text: str) -> str:
    """The configuration with njs's answer in place of the two maps' that are there to spare it."""
    for variable in ("upstream", "set_cookie"):
        text, found = re.subn(
            rf"map \$\w+ \$sticky_app_{variable} {{\n.*?}}\n",
            f'map "" $sticky_app_{variable} {{ default $sticky_{variable}; }}\n',
            text,
            flags=re.DOTALL,
        )
        assert found == 1
    assert "sticky_named" not in text
    return text


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def ask(port: int, cookie: bytes, upgrade: bytes = b"") -> tuple[str, str | None]:
    """The worker that answered, and the one that the response's cookie names."""
    lines = [b"GET / HTTP/1.1", b"Host: here", b"Connection: close", b"Cookie: " + cookie]
    lines += [b"Upgrade: " + upgrade] if upgrade else []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), reply
    named = [line.split(b"=")[1].split(b";")[0] for line in head.split(b"\r\n") if line.startswith(b"Set-Cookie:")]
    assert len(named) <= 1
    return body.decode(), named[0].decode() if named else None


@settings(max_examples=1500)
@given(cookies)
@example(b"sticky=app12")
@example(b"\tsticky=app12\t")
@example(b"a=1;sticky=app1;")
@example(b"sticky=x; sticky=app2; sticky=app3")
@example(b"sticky=app2; sticky=x")
@example(b"sticky=\xffapp1; sticky=app2")
@example(b"; \t;; sticky=app3 \t; x")
@example(b"STICKY=app1; sticky =app2; sticky= app3")
@example(b"sticky=x; " + b"a" * 1000 + b"; sticky=app2; sticky=app3")
@example(b"sticky=app2 " + b"a" * 1000 + b" ;\t sticky=app3\t")
def test_map_and_njs_agree_on_every_cookie(fronts, cookie):
    worker, sets = rule(cookie, WORKERS)
    for front, port in fronts.items():
        # By turns, so that a round which pages and sessions share would show.
        replies = [ask(port, cookie, upgrade) for upgrade in (b"", b"websocket") * 2]
        if worker is None:
            assert all(answered == named for answered, named in replies), front
            for first, second in ((0, 2), (1, 3)):
                assert replies[second][0] == following(replies[first][0]), front
        else:
            assert set(replies) == {(worker, worker if sets else None)}, front


def following(worker: str) -> str:
    """The next in a round robin."""
    return WORKERS[(WORKERS.index(worker) + 1) % len(WORKERS)]
