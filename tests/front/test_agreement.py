"""Map and njs give the same answer for every cookie, and so does the rule, written once more in Python."""

import contextlib
import socket
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shiny_sticky.front import nginx_program as nginx
from shiny_sticky.settings.model import load
from support.real_site import ECHO, NGINX, Site, free_port, until

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
cookies = st.lists(st.sampled_from(PIECES) | raw_bytes, max_size=12).map(b"".join)


def rule(cookie: bytes) -> tuple[str | None, bool]:
    """The worker that a cookie leads to (None is the pool), and whether the response sets one."""
    pairs = [pair.strip(b" \t") for pair in cookie.split(b";")]
    values = [pair[len(b"sticky=") :] for pair in pairs if pair.startswith(b"sticky=")]
    valid = [value.decode() for value in values if value in {name.encode() for name in WORKERS}]
    if not valid:
        return None, True
    return valid[0], values[0].decode("latin-1") != valid[0]


@pytest.fixture(scope="module")
def fronts():
    """Ports of two nginx over the same backends: one as shipped, one in which njs answers for every cookie.

    The backends are one more nginx: it answers whatever bytes a cookie has, while uvicorn refuses some.
    """
    with Site({"app": {"target": ECHO, "workers": len(WORKERS)}}) as site, contextlib.ExitStack() as running:
        (site.run_dir / "tmp").mkdir(parents=True)
        chosen = load(site.config)
        program = nginx.find(NGINX)

        def start(name: str, text: str) -> None:
            conf = site.folder / f"{name}.conf"
            conf.write_text(text.replace("/nginx.pid", f"/{name}.pid"))
            process = subprocess.Popen([program.path, "-e", "stderr", "-c", str(conf), "-g", "daemon off;"])
            running.callback(process.wait)
            running.callback(process.terminate)

        names = "".join(f"server {{ listen unix:{site.run_dir}/{n}.sock; return 200 {n}; }}\n" for n in WORKERS)
        paths = "".join(f"{n}_temp_path {site.run_dir}/tmp/{n}; " for n in ("client_body", "proxy"))
        paths += "".join(f"{n}_temp_path {site.run_dir}/tmp/{n}; " for n in program.other_upstreams)
        start("backends", f"pid {site.run_dir}/nginx.pid; events {{}} http {{ access_log off; {paths}{names} }}")
        ports = {}
        for name, fast_path in (("map", True), ("njs", False)):
            ports[name] = free_port()
            here = chosen.model_copy(update={"listen": [f"127.0.0.1:{ports[name]}"]})
            text = nginx.render(here, program, site.config, fast_path=fast_path)
            assert ("(?<sticky_named>app(?:" in text) == fast_path
            start(name, text)
        for port in ports.values():
            until(lambda port=port: answers(port), "nginx listens")
        until(lambda: len(list(site.run_dir.glob("*.sock"))) == len(WORKERS), "the backends listen")
        yield ports


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def ask(port: int, cookie: bytes) -> tuple[str, str | None]:
    """The worker that answered, and the one that the response's cookie names."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: here\r\nCookie: " + cookie + b"\r\n\r\n")
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), reply
    named = [line.split(b"=")[1].split(b";")[0] for line in head.split(b"\r\n") if line.startswith(b"Set-Cookie:")]
    assert len(named) <= 1
    return body.decode(), named[0].decode() if named else None


@settings(max_examples=1500, deadline=None)
@given(cookies)
@example(b"sticky=app12")
@example(b"\tsticky=app12\t")
@example(b"a=1;sticky=app1;")
@example(b"sticky=x; sticky=app2; sticky=app3")
@example(b"sticky=app2; sticky=x")
@example(b"sticky=\xffapp1; sticky=app2")
@example(b"; \t;; sticky=app3 \t; x")
@example(b"STICKY=app1; sticky =app2; sticky= app3")
def test_map_and_njs_agree_on_every_cookie(fronts, cookie):
    worker, sets = rule(cookie)
    for front, port in fronts.items():
        first, second = ask(port, cookie), ask(port, cookie)
        if worker is None:
            # Round robin never gives the same worker twice in a row.
            assert first[0] != second[0], front
            assert first[0] == first[1] and second[0] == second[1], front
        else:
            assert first == second == (worker, worker if sets else None), front
