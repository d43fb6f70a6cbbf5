"""What nginx does besides routing: forwarding, cookies' attributes, uploads, streams, several apps."""

import hashlib
import http.client
import json
import os
import subprocess

import psutil
import pytest

from shiny_sticky.front import nginx_program
from support.real_site import ECHO, NGINX, ROOT, Site, free_port, until


def test_the_app_sees_the_real_client_and_no_claims_of_its(site):
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
    }
    seen = site.ask(headers=claims).json
    assert seen["client"] == "127.0.0.1"
    assert seen["scheme"] == "http"
    assert seen["headers"]["host"] == f"127.0.0.1:{site.port}"
    assert seen["headers"]["x-forwarded-host"] == f"127.0.0.1:{site.port}"
    assert "203.0.113.9" not in json.dumps(seen)


def test_a_trusted_proxy_is_believed(site_of):
    site = site_of(trusted_proxies=["127.0.0.0/8"], identity_headers=["X-Forwarded-User"]).start()
    reply = site.ask(
        headers={
            "X-Forwarded-For": "203.0.113.9",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "lab.example",
            "X-Forwarded-User": "ann",
            "Shiny-Server-Credentials": '{"user": "boss"}',
        }
    )
    seen = reply.json
    assert (seen["client"], seen["scheme"]) == ("203.0.113.9", "https")
    assert seen["headers"]["x-forwarded-host"] == "lab.example"
    assert seen["headers"]["x-forwarded-user"] == "ann"
    assert "shiny-server-credentials" not in seen["headers"]
    assert reply.set_cookies[0].endswith("; Secure")

    plain = site.ask(headers={"X-Forwarded-Proto": "http"})
    assert "Secure" not in plain.set_cookies[0]


def test_a_proxy_that_is_not_trusted_is_not(site_of):
    site = site_of(trusted_proxies=["192.0.2.0/24"], identity_headers=["X-Forwarded-User"]).start()
    reply = site.ask(
        headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-User": "ann"}
    )
    assert (reply.json["client"], reply.json["scheme"]) == ("127.0.0.1", "http")
    assert "x-forwarded-user" not in reply.json["headers"]
    assert "Secure" not in reply.set_cookies[0]


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (
            {"name": "lab", "max_age": 3600, "same_site": "none", "secure": True, "domain": "lab.example"},
            "lab={}; Path=/; HttpOnly; SameSite=None; Max-Age=3600; Domain=lab.example; Secure",
        ),
        *(
            pytest.param(cookie, expected, marks=pytest.mark.slow)
            for cookie, expected in [
                ({}, "sticky={}; Path=/; HttpOnly; SameSite=Lax"),
                ({"name": "lab", "max_age": 3600}, "lab={}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
                ({"same_site": "strict"}, "sticky={}; Path=/; HttpOnly; SameSite=Strict"),
                ({"same_site": "none", "secure": True}, "sticky={}; Path=/; HttpOnly; SameSite=None; Secure"),
                ({"domain": "lab.example"}, "sticky={}; Path=/; HttpOnly; SameSite=Lax; Domain=lab.example"),
                ({"secure": False}, "sticky={}; Path=/; HttpOnly; SameSite=Lax"),
            ]
        ),
    ],
)
def test_the_cookie_has_the_attributes_of_the_settings(site_of, cookie, expected):
    site = site_of({"app": {"target": ECHO, "workers": 1}}, cookie=cookie).start()
    reply = site.ask()
    assert reply.set_cookies == [expected.format(reply.worker)]
    assert site.ask(cookie=f"{cookie.get('name', 'sticky')}=app1").set_cookies == []


def test_uploads_pass_up_to_the_limit_and_not_beyond(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1, "max_upload": "30MB", "uploads": ["/"]}}).start()
    body = os.urandom(1 << 20) * 30
    seen = site.ask(method="POST", body=body).json
    assert (seen["size"], seen["sha256"]) == (30 << 20, hashlib.sha256(body).hexdigest())
    try:
        status = site.ask(method="POST", body=body + b"!").status
    except (BrokenPipeError, ConnectionResetError):  # nginx need not read to the end what it refuses
        status = 413
    assert status == 413


def test_a_download_streams(site, tmp_path):
    """The first piece arrives while the worker still waits to make the second."""
    go_on = tmp_path / "go-on"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.request("GET", f"/?chunks={go_on}")
    response = connection.getresponse()
    assert response.read1() == b"first"
    go_on.touch()
    assert response.read() == b"second"
    connection.close()


def test_connections_to_workers_are_kept_open(site):
    for _ in range(40):
        site.ask(cookie="sticky=app1")
    kept = [link for link in psutil.Process(site.pid("app1")).net_connections("unix") if ".sock" in str(link.laddr)]
    # One is the listening socket; each nginx process keeps one for the pool and one for the name, and uses them
    # again and again.
    assert 2 <= len(kept) <= 1 + 2 * os.cpu_count()


def test_paths_and_queries_arrive_byte_for_byte(site):
    seen = site.ask("/a%2Fb/%20//c?x=%2F&y=a+b").json
    assert (seen["raw_path"], seen["query"]) == ("/a%2Fb/%20//c", "x=%2F&y=a+b")


def test_idle_websockets_live_for_hours(site):
    assert "proxy_read_timeout  1d;" in site.conf.read_text()
    assert "proxy_send_timeout  1d;" in site.conf.read_text()


# --- several apps, each at its path


@pytest.fixture(scope="module")
def two():
    apps = {
        "app": {"target": ECHO, "workers": 2, "env": {"GREETING": "first"}},
        "other": {"target": ECHO, "workers": 2, "path": "/foo", "env": {"GREETING": "second"}},
    }
    with Site(apps) as site:
        yield site.start()


def test_each_app_has_its_path_its_workers_and_its_cookie(two):
    first, second = two.ask("/"), two.ask("/foo/")
    assert (first.json["env"], first.worker[:-1]) == ("first", "app")
    assert (second.json["env"], second.worker[:-1]) == ("second", "other")
    assert first.set_cookies == [f"sticky={first.worker}; Path=/; HttpOnly; SameSite=Lax"]
    assert second.set_cookies == [f"sticky_other={second.worker}; Path=/foo/; HttpOnly; SameSite=Lax"]


def test_one_apps_cookie_means_nothing_to_another(two):
    until(two.all_heard, "each worker is heard")
    both = "sticky=app2; sticky_other=other1"
    assert [two.ask("/", cookie=both).worker, two.ask("/foo/", cookie=both).worker] == ["app2", "other1"]
    for wrong in ("sticky=other1", "sticky_other=app1", "sticky_other=app1; sticky=other1"):
        assert {two.ask("/", cookie=wrong).worker for _ in range(4)} == {"app1", "app2"}
        assert {two.ask("/foo/", cookie=wrong).worker for _ in range(4)} == {"other1", "other2"}


def test_an_app_below_a_path_is_told_so(two):
    seen = two.ask("/foo/bar/").json
    assert (seen["root_path"], seen["path"]) == ("/foo", "/foo/bar/")
    assert two.ask("/").json["root_path"] == ""
    assert two.ask("/foolish").json["env"] == "first"


def test_the_path_without_its_slash_redirects(two):
    reply = two.ask("/foo?a=1&b=2")
    assert (reply.status, reply.headers["Location"]) == (302, "/foo/?a=1&b=2")


def test_websockets_below_a_path_are_routed(two):
    socket = two.websocket("/foo/ws", cookie="sticky_other=other2; sticky=app1")
    assert json.loads(socket.recv())["worker"] == "other2"
    socket.close()


def test_redirects_of_an_app_pass_unchanged(two):
    assert two.ask("/foo/?redirect=/foo/elsewhere").headers["Location"] == "/foo/elsewhere"


# --- nginx by hand


def test_the_same_front_can_be_started_by_hand(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}).start("--no-nginx")
    assert not site.nginx_pid()
    assert site.says(r'nginx -p "\$PWD" -c ')
    program = nginx_program.find(NGINX).path
    subprocess.run([program, "-p", str(site.folder), "-c", "conf/sticky.conf"], check=True, cwd=site.folder)
    until(site.nginx_pid, "nginx runs")
    assert site.ask(cookie="sticky=app2").worker == "app2"
    pid = site.nginx_pid()
    assert site.stop() == 0
    assert psutil.pid_exists(pid), "the launcher does not stop an nginx that is not its own"
    assert site.ask().status == 503
    subprocess.run([program, "-p", str(site.folder), "-c", "conf/sticky.conf", "-s", "stop"], check=True)
    until(lambda: not psutil.pid_exists(pid), "nginx has ended")


def test_the_snippet_works_inside_a_users_own_nginx(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}).start("--no-nginx")
    printed = site.command("--snippet", str(site.config))
    assert (printed.returncode, printed.stderr) == (0, "")
    (site.folder / "snippet.conf").write_text(printed.stdout)
    program = nginx_program.find(NGINX)
    port = free_port()
    (site.folder / "own.conf").write_text(
        f"{f'load_module {program.njs_module};' if program.njs_module else ''}\n"
        f"user root;\npid {site.run_dir}/nginx.pid; error_log {site.folder}/own.log;\n"
        "events {}\n"
        "http {\n"
        f"    access_log off; client_body_temp_path {site.folder}/body; proxy_temp_path {site.folder}/proxy;\n"
        f"    fastcgi_temp_path {site.folder}/f; uwsgi_temp_path {site.folder}/u; scgi_temp_path {site.folder}/s;\n"
        f"    server {{ listen 127.0.0.1:{port}; return 200 own; }}\n"
        f"    include {site.folder}/snippet.conf;\n"
        "}\n"
    )
    subprocess.run([program.path, "-c", str(site.folder / "own.conf")], check=True)
    until(site.nginx_pid, "nginx runs")
    until(site.all_heard, "each worker is heard")
    assert {site.ask().worker, site.ask().worker} == {"app1", "app2"}
    reply = site.ask(cookie="sticky=app2")
    assert (reply.worker, reply.set_cookies) == ("app2", [])
    assert site.stop() == 0
    waiting = site.ask()
    assert (waiting.status, waiting.headers["Content-Type"]) == (503, "text/html")
    assert b'http-equiv="refresh"' in waiting.body
    site.port = port
    assert site.ask().body == b"own"


def test_the_routing_script_is_short_enough_to_be_held_in_the_head():
    assert len((ROOT / "njs" / "sticky.js").read_text().splitlines()) < 100
