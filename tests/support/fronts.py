"""What other people put before their apps: plain uvicorn, and an nginx of their own before it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shiny_sticky.front import nginx_program
from support.real_site import APPS, NGINX
from support.waiting import PATIENCE, free_port, until

HASH = """upstream workers { hash $cookie_sticky; SERVERS }
    map $cookie_sticky $new_cookie { default ""; "" "sticky=$request_id; Path=/; HttpOnly"; }"""
HASH_COOKIE = "add_header Set-Cookie $new_cookie;"

ROUND_ROBIN = "upstream workers { SERVERS }"

PASSES_WEBSOCKETS = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path, gone at the end."""
    place = Path(tempfile.mkdtemp(prefix="sf-", dir="/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def uvicorn(app: str, log: Path, *options: str, processes: int = 1) -> Iterator[None]:
    """An app of the tests under uvicorn, as people start it; all of its processes serve when the block begins."""
    command = [sys.executable, "-m", "uvicorn", f"{app}:app", "--no-access-log", *options]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=APPS, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        until(lambda: log.read_text().count("Application startup complete") == processes, "uvicorn has started")
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def uvicorn_on_a_port(app: str = "core_app", workers: int = 2) -> Iterator[int]:
    """An app under uvicorn's own ``--workers``; gives its port."""
    port = free_port()
    with (
        folder() as place,
        uvicorn(app, place / "log", "--port", str(port), "--workers", str(workers), processes=workers),
    ):
        yield port


@contextlib.contextmanager
def uvicorns_behind_nginx(
    upstream: str, location: str = PASSES_WEBSOCKETS, app: str = "core_app", server: str = ""
) -> Iterator[int]:
    """Two processes of uvicorn behind an nginx; gives its port.

    Args:
        upstream: what stands in ``http {}``, with SERVERS where they are named.
        location: what the location has besides ``proxy_pass``.
        app: what they serve.
        server: how the server listens besides, such as `ssl; ssl_certificate …`.
    """
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder())
        sockets = [place / f"{number}.sock" for number in range(2)]
        for file in sockets:
            stack.enter_context(uvicorn(app, file.with_suffix(".log"), "--uds", str(file)))
        servers = " ".join(f"server unix:{file};" for file in sockets)
        yield stack.enter_context(_nginx(place, upstream.replace("SERVERS", servers), location, server))


@contextlib.contextmanager
def _nginx(place: Path, http: str, location: str, server: str) -> Iterator[int]:
    port = free_port()
    paths = " ".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    conf = place / "nginx.conf"
    conf.write_text(f"""daemon off; pid {place}/nginx.pid; error_log {place}/error.log; {_user()}
events {{}}
http {{
    access_log off; {paths}
    {http}
    server {{
        listen 127.0.0.1:{port} {server};
        location / {{
            proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Host $http_host;
            {location}
        }}
    }}
}}
""")
    program = nginx_program.find(NGINX).path
    process = subprocess.Popen([program, "-p", place, "-c", conf, "-e", place / "error.log"])
    try:
        until(lambda: _listens(port), "nginx listens")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _user() -> str:
    """Root's nginx would have processes of another user, which may not open the sockets."""
    return "user root;" if os.geteuid() == 0 else ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
