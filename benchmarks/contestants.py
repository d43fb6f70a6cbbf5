"""The contestants: each writes its configuration, starts its front, and knows the front's processes.

All of nginx's kind share what is not routing in this project's own configuration: processes, limits, log, and what
the workers are told of the client.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

import sid
from load import fetch
from measure import first_line, tree
from programs import Missing, Program, port_answers
from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.settings import read as settings
from shiny_sticky.settings.names import seat_names
from shiny_sticky.supervision.pool import KINDS
from support.real_site import Site, free_port

NGINX = nginx_program.find("nginx").path
APP = Path(__file__).resolve().parent.parent / "app" / "app.py"

# The workers of this project write no access log either: the front does.
QUIET_UVICORN = ("--no-access-log", "--log-level", "warning")

CORES = os.cpu_count() or 1


def rendered(own: Path, run_dir: Path, port: int, workers: int) -> str:
    """Render this project's configuration, as the launcher writes it.

    Args:
        own: a folder for the settings file.
        run_dir: where the sockets are, or shall be.
        port: to listen on.
        workers: how many.
    """
    file = own / "config.yaml"
    values = {
        "listen": f"127.0.0.1:{port}",
        "run_dir": str(run_dir),
        "apps": {"app": {"target": "benchmarks:any", "workers": workers}},
    }
    file.write_text(yaml.safe_dump(values))
    return configuration.render(
        settings.load(file), nginx_program.find("nginx"), f"Written for a benchmark from {file}."
    )


def basics(own: Path) -> str:
    """The beginning of an nginx configuration, up to within ``http {``: the part of ours that does no routing."""
    before, found, _ = rendered(own, own, 1, 1).partition("    js_import")
    assert found, "the generated configuration begins in another way; see conf/*.j2"
    return "\n".join(line for line in before.splitlines() if not line.startswith("load_module"))


@contextlib.contextmanager
def nginx_running(program: list[str], own: Path, text: str, ready: Callable[[], bool]) -> Iterator[Program]:
    """An nginx with this configuration; `own` takes its files."""
    (own / "tmp").mkdir(exist_ok=True)
    conf = own / "nginx.conf"
    conf.write_text(text)
    command = [*program, "-p", str(own), "-e", str(own / "nginx-error.log"), "-c", str(conf), "-g", "daemon off;"]
    with Program(command, own / "log") as running:
        running.ready(ready)
        yield running


class Contestant:
    """A front on a port of 127.0.0.1 before workers on unix sockets.

    Args:
        sockets: of the workers, which run already.

    Attributes:
        key: its name in results.json.
        title: its name in the tables.
        port: where it listens while it runs.
    """

    key = ""
    title = ""

    def __init__(self, sockets: list[Path]) -> None:
        self.sockets = sockets
        self.port = free_port()
        self._pid = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Contestant]:
        """Run it within a ``with`` block.

        Raises:
            Missing: it cannot be had here.
        """
        own = self.sockets[0].parent / self.key
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        with self.front(own) as program:
            self._pid = program.pid
            yield self

    @contextlib.contextmanager
    def front(self, own: Path) -> Iterator[Program]:
        """Start its program, which keeps its files in a folder of its own."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """The front's processes."""
        return tree(self._pid)

    def named(self) -> dict[str, str]:
        """For each worker the cookie of a client that has been assigned to it, learned by asking.

        The workers answer with their names.
        """
        found: dict[str, str] = {}
        for _ in range(30 * len(self.sockets)):
            if len(found) == len(self.sockets):
                break
            reply = fetch(self.port, "/")
            if reply.cookie:
                found[reply.body.decode()] = reply.cookie
        return found


class OfNginx(Contestant):
    """A front that is an nginx, with a routing of its own."""

    program = (NGINX,)

    def http(self) -> str:
        """What stands in ``http {}`` before the server."""
        raise NotImplementedError

    def location(self) -> str:
        """What stands in the location besides the proxy's own directives."""
        return ""

    def text(self, own: Path) -> str:
        """The whole configuration."""
        return f"""{basics(own)}
    map $http_upgrade $connection_upgrade {{
        default  upgrade;
        ""       "";
    }}

    {self.http()}

    server {{
        listen  127.0.0.1:{self.port};

        location / {{
            proxy_pass          http://workers;
            proxy_http_version  1.1;
            proxy_read_timeout  1d;
            proxy_buffering     off;
            proxy_set_header    Host               $http_host;
            proxy_set_header    Upgrade            $http_upgrade;
            proxy_set_header    Connection         $connection_upgrade;
            proxy_set_header    X-Real-IP          $remote_addr;
            proxy_set_header    X-Forwarded-For    $remote_addr;
            proxy_set_header    X-Forwarded-Proto  $scheme;
            proxy_set_header    X-Forwarded-Host   $http_host;
            {self.location()}
        }}
    }}
}}
"""

    def upstream(self, method: str = "") -> str:
        """The upstream; it keeps as many connections open as all of this project's together."""
        servers = "\n".join(f"        server  unix:{file};" for file in self.sockets)
        return f"""upstream workers {{
        {method}
{servers}
        keepalive  {16 * len(self.sockets)};
    }}"""

    @contextlib.contextmanager
    def front(self, own: Path) -> Iterator[Program]:
        """Start it."""
        with nginx_running(list(self.program), own, self.text(own), lambda: port_answers(self.port)) as program:
            yield program


class Ours(OfNginx):
    """The project's configuration before workers that something else has started."""

    key = "ours"
    title = "**this project**"

    def text(self, own: Path) -> str:
        """The configuration as it is shipped."""
        return rendered(own, self.sockets[0].parent, self.port, len(self.sockets))

    @contextlib.contextmanager
    def front(self, own: Path) -> Iterator[Program]:
        """Start it; its files are where the sockets are."""
        folder = self.sockets[0].parent
        (folder / "tmp").mkdir(exist_ok=True)
        for kind in KINDS:
            (folder / kind).mkdir(exist_ok=True)
        for seat, file in zip(seat_names("app", len(self.sockets)), self.sockets, strict=True):
            for kind in KINDS:
                with contextlib.suppress(FileExistsError):
                    (folder / kind / f"{seat}.sock").symlink_to(f"../{file.name}")
        with super().front(own) as program:
            yield program


class Plain(OfNginx):
    """The limit: a proxy that keeps nobody anywhere."""

    key = "plain"
    title = "nginx, plain `proxy_pass`"

    def http(self) -> str:
        """Round robin."""
        return self.upstream()

    def named(self) -> dict[str, str]:
        """It sets no cookie; clients send one of the same length."""
        return {file.stem: f"sticky={file.stem}" for file in self.sockets}


class Hash(OfNginx):
    """What many people use: the worker is what a hash of the cookie leads to."""

    key = "hash"
    title = "nginx, `hash $cookie_sticky`"

    def http(self) -> str:
        """A cookie for who has none."""
        return (
            self.upstream("hash  $cookie_sticky;")
            + """

    map $cookie_sticky $new_cookie {
        default  "";
        ""       "sticky=$request_id; Path=/; HttpOnly";
    }"""
        )

    def location(self) -> str:
        """Set the cookie."""
        return "add_header  Set-Cookie  $new_cookie;"

    def named(self) -> dict[str, str]:
        """The cookie is a worker's socket, as it often is; which worker it leads to is up to the hash."""
        return {file.stem: f"sticky={file.name}" for file in self.sockets}


class Native(OfNginx):
    """The ``sticky`` directive that nginx has since 1.29.6, from Debian sid."""

    key = "native"
    title = "nginx 1.29.6+, `sticky cookie`"

    def __init__(self, sockets: list[Path]) -> None:
        super().__init__(sockets)
        self.program = tuple(sid.nginx())

    def http(self) -> str:
        """Its cookie has the attributes of ours."""
        return self.upstream("zone  workers  512k;\n        sticky  cookie sticky path=/ httponly samesite=lax;")


class HAProxy(Contestant):
    """HAProxy, with as many threads as nginx has processes. It writes no access log."""

    key = "haproxy"
    title = "HAProxy, `cookie … insert`"

    @contextlib.contextmanager
    def front(self, own: Path) -> Iterator[Program]:
        """Write its configuration, and start it."""
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise Missing("there is no haproxy")
        servers = "\n".join(f"    server {file.stem} unix@{file} cookie {file.stem}" for file in self.sockets)
        conf = own / "haproxy.cfg"
        conf.write_text(f"""global
    nbthread {CORES}
    maxconn 9000

defaults
    mode http
    timeout connect 5s
    timeout client 1d
    timeout server 1d
    timeout tunnel 1d

listen workers
    bind 127.0.0.1:{self.port}
    balance roundrobin
    http-reuse always
    cookie sticky insert indirect nocache httponly
{servers}
""")
        with Program([program, "-db", "-f", str(conf)], own / "log") as running:
            running.ready(lambda: port_answers(self.port))
            yield running


class Caddy(Contestant):
    """Caddy as it comes."""

    key = "caddy"
    title = "Caddy, `lb_policy cookie`"
    program = Path(sys.executable).parent / "caddy"

    @contextlib.contextmanager
    def front(self, own: Path) -> Iterator[Program]:
        """Write its configuration, and start it."""
        if not self.program.is_file():
            raise Missing("there is no caddy in .venv")
        conf = own / "Caddyfile"
        conf.write_text(f"""{{
    admin off
    auto_https off
    persist_config off
}}

http://:{self.port} {{
    bind 127.0.0.1
    reverse_proxy {" ".join(f"unix/{file}" for file in self.sockets)} {{
        lb_policy cookie sticky
    }}
}}
""")
        command = [str(self.program), "run", "--config", str(conf), "--adapter", "caddyfile"]
        own_home = {name: str(own) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        with Program(command, own / "log", env=own_home) as running:
            running.ready(lambda: port_answers(self.port))
            yield running


class UvicornWorkers(Contestant):
    """The demo under uvicorn's own ``--workers``, with nothing in front."""

    key = "uvicorn"
    title = "uvicorn `--workers`"

    @contextlib.contextmanager
    def front(self, own: Path) -> Iterator[Program]:
        """Start it with as many workers as the others have; the sockets are not used."""
        options = ["--port", str(self.port), "--workers", str(len(self.sockets)), *QUIET_UVICORN]
        command = [sys.executable, "-m", "uvicorn", "app:app", *options]
        with Program(command, own / "log", APP.parent) as running:
            running.ready(lambda: port_answers(self.port))
            yield running


class UvicornAlone(UvicornWorkers):
    """The demo as ``shiny run`` serves it: one process, nothing in front."""

    key = "alone"
    title = "uvicorn alone"

    def __init__(self, sockets: list[Path]) -> None:
        super().__init__(sockets[:1])


class Launched(Contestant):
    """The project, all of it: the launcher, its nginx, and its own workers of the demo."""

    key = "ours"
    title = Ours.title

    @contextlib.contextmanager
    def running(self) -> Iterator[Contestant]:
        """Start the launcher; the sockets are used for their number only."""
        with Site({"app": {"target": str(APP), "workers": len(self.sockets)}}) as site:
            site.start()
            self.port, self._pid = site.port, site.nginx_pid()
            yield self


def versions() -> dict[str, str]:
    """Versions of the contestants' programs."""
    found = {
        "nginx": first_line(NGINX, "-v").rpartition("/")[2],
        "HAProxy": first_line("haproxy", "-v").partition("version ")[2].partition(" ")[0],
        "Caddy": first_line(str(Caddy.program), "version").partition(" ")[0].lstrip("v"),
        "wrk": first_line("wrk", "-v").partition(" ")[2].partition(" ")[0],
    }
    with contextlib.suppress(Missing):
        found["nginx of sid"] = first_line(*sid.nginx(), "-v").rpartition("/")[2]
    return {name: version for name, version in found.items() if version}
