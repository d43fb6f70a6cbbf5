"""What is wrong is said in a clear line: exit code 2 for settings, 1 for the environment; nothing half-started."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shiny_sticky.cli import main
from shiny_sticky.client.logs import show
from shiny_sticky.errors import SettingsError
from shiny_sticky.front.nginx_process import check_ports
from shiny_sticky.settings.mistakes import model_at
from shiny_sticky.settings.model import AppSettings, Settings
from shiny_sticky.settings.read import load
from shiny_sticky.supervision import control
from support.other_user import USER, needs_root, open_site, program, told_to_other_user
from support.real_site import ECHO, ROOT, Site
from support.settings_keys import all_keys

# The first port that is not root's alone.
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
UNPRIVILEGED_FROM = int(UNPRIVILEGED.read_text()) if UNPRIVILEGED.exists() else 1024

MISTAKES = [
    # settings, what the message says
    ("listne: 127.0.0.1:80", ':1: listne: unknown key; did you mean "listen"? allowed here: listen, run_dir'),
    ("apps:\n  app:\n    worker: 4", ':3: apps.app.worker: unknown key; did you mean "workers"?'),
    ("apps:\n  app:\n    workers: 300", ":3: apps.app.workers: expected less than or equal to 256, got 300"),
    ("apps:\n  app:\n    workers: 0", ":3: apps.app.workers: expected greater than or equal to 1, got 0"),
    (
        "apps:\n  app:\n    isolation: sessions",
        ":3: apps.app.isolation: expected 'shared' or 'session', got 'sessions'",
    ),
    (
        "apps:\n  app:\n    isolation: session\n    max_sessions: 4",
        ":4: apps.app.max_sessions: with isolation: session it is 1, not 4; leave it out",
    ),
    (
        "apps:\n  app:\n    sessions_per_worker: 8\n    max_sessions: null\n    isolation: session",
        ":4: apps.app.max_sessions: with isolation: session it is 1, not null; leave it out",
    ),
    (
        "apps:\n  app:\n    workers: '4'",
        ":3: apps.app.workers: expected a whole number, auto or {min: 1, max: 64}, got '4'",
    ),
    (
        "apps:\n  app:\n    workers: true",
        ":3: apps.app.workers: expected a whole number, auto or {min: 1, max: 64}, got T",
    ),
    (
        "apps:\n  app:\n    workers: {min: 2}",
        ":3: apps.app.workers: max: expected a whole number, as in {min: 1, max: 64}",
    ),
    ("apps:\n  app:\n    workers: {max: 999}", ":3: apps.app.workers: expected less than or equal to 256, got 999"),
    (
        "apps:\n  app:\n    workers: {min: 3, max: 2}",
        ":3: apps.app.workers: min is 3 and max 2; expected min to be",
    ),
    (
        "apps:\n  app:\n    workers: {most: 2}",
        ":3: apps.app.workers: unknown key most; expected two: {min: 1, max: 64}",
    ),
    ("apps:\n  app:\n    env: {A: true}", ":3: apps.app.env.A: expected text (in quotes"),
    (
        "apps:\n  app:\n    recycle: {max_sessions: 9}",
        ':3: apps.app.recycle.max_sessions: unknown key; it is called "sessions_served" now; allowed here: ',
    ),
    (
        "apps:\n  app:\n    max_upload: much",
        ":3: apps.app.max_upload: expected a size, such as 100MB or 1GB, got ",
    ),
    (
        "apps:\n  app:\n    max_upload: true",
        ":3: apps.app.max_upload: expected a size, such as 100MB or 1GB, got T",
    ),
    ("apps:\n  app:\n    max_upload: 1e400", ":3: apps.app.max_upload: expected a size"),
    ("apps:\n  app:\n    max_upload: 0", ":3: apps.app.max_upload: "),
    ("apps:\n  app:\n    start_timeout: 0", ":3: apps.app.start_timeout: expected greater than 0"),
    ("apps:\n  app:\n    path: a b", ":3: apps.app.path: expected a path such as / or /foo/"),
    ("apps:\n  app:\n    path: /../x", ":3: apps.app.path: expected a path such as / or /foo/"),
    ("apps:\n  app:\n    python: /no/python", ":3: apps.app.python: /no/python is no program"),
    ("apps:\n  app:\n    target: gone.py", ":3: apps.app.target: there is no file /"),
    ("apps:\n  app:\n    target: what is this", ":3: apps.app.target: 'what is this' is neither a Python file"),
    ("apps:\n  App-1:\n    workers: 1", ":2: apps.App-1: expected an app's name: a small letter"),
    ("apps: {}", ":1: apps: "),
    ("apps:", ":1: apps: expected keys with values below it, got None"),
    ("apps:\n  app: {path: /a/}\n  b: {path: /a}", ":3: apps.b.path: /a/ is also the path of app"),
    ("apps:\n  app: {workers: 11}\n  app1: {path: /b/}", ":3: apps.app1: its worker app11 is also one of app"),
    ("cache: {paths: ['/a/??']}", ":1: cache.paths.0: expected a path such as /img/ or /logo.png"),
    ("cache: {paths: ['/?']}", ":1: cache.paths.0: expected a path such as /img/ or /logo.png"),
    ("cache: {paths: ['/a/?']}\napps:\n  app: {path: /a/}", ":1: cache.paths.0: /a/? is all of app"),
    ("cookie: {same_site: lux}", ":1: cookie.same_site: expected 'lax', 'strict' or 'none', got 'lux'"),
    ("cookie: {secure: perhaps}", ":1: cookie.secure: expected 'auto' or true or false, got 'perhaps'"),
    ("cookie: {same_site: none, secure: false}", ":1: cookie: same_site: none needs secure"),
    ("cookie: {name: __Host-sticky}", ":1: cookie: the name __Host-sticky needs secure: true"),
    (
        "cookie: {name: __Host-x, secure: true}\napps:\n  app: {path: /a/}",
        ":1: cookie.name: __Host-x allows no path but /, and an app is mounted at /a/",
    ),
    ("allowed_origins: [portal.example]", ":1: allowed_origins.0: expected text of the form"),
    ("allowed_origins: [https://portal.example/]", ":1: allowed_origins.0: expected text of the form"),
    ("frame_ancestors: none", ":1: frame_ancestors: "),
    ("frame_ancestors: ['https://a.b; x']", ":1: frame_ancestors"),
    ("cookie: {name: 'a;b'}", ":1: cookie.name: expected text of the form"),
    ("cookie: {domain: 'a;b'}", ":1: cookie.domain: expected text of the form"),
    ("listen: 80800", ":1: listen: port 80800 is not between 1 and 65535"),
    ("target: mine.py", ":1: target: this key belongs to an app; below apps, for one: apps: {app: {target: ...}}"),
    ("apps:\n  app:\n    max_upload: 10", ":3: apps.app.max_upload: 10 is 10 bytes; did you mean 10MB?"),
    ("listen: example:8080", ":1: listen: expected host:port"),
    ("listen: 127.0.0.1:70000", ":1: listen: port 70000 is not between 1 and 65535"),
    ("listen:\n- 127.0.0.1:80\n- 1.2.3:80", ":3: listen.1: 1.2.3 is no IP address"),
    (
        "listen: [::]:8080",
        ":1: not valid YAML: expected the node content, but found ':'; an address in brackets must",
    ),
    ("trusted_proxies: [10.0.0.1/8]", ":1: trusted_proxies.0: 10.0.0.1/8 has host bits set"),
    ("identity_headers: [X-User]", ":1: identity_headers: they are taken from trusted_proxies only"),
    ("run_dir: " + "x" * 100, ":1: run_dir: the socket /"),
    ("run_dir: a$b", ":1: run_dir: the path "),
    ("a:\n\tb: 1", ":2: not valid YAML: found character '\\t'"),
    ("a: [1", ":1: not valid YAML: "),
    ("- 1", ":1: expected keys such as"),
    ("listen: 127.0.0.1:80\nlisten: 127.0.0.1:81", ":2: listen: this key stands twice"),
    ("user: no-such-user", "user: there is no user no-such-user"),
    ("nginx: {socket_group: no-such-group}", "nginx.socket_group: there is no group no-such-group"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=[text.replace("\n", " ") for text, _ in MISTAKES])
def test_a_mistake_in_the_settings_is_shown_with_file_line_and_key(site_of, capfd, settings, message):
    site = site_of()
    (site.folder / "app").mkdir()
    (site.folder / "app" / "app.py").write_text("")
    site.config.write_text(settings)
    assert main([str(site.config)]) == 2  # in this process: another one for each would take minutes
    said = capfd.readouterr().err
    assert f"{site.config}{'' if message[0] == ':' else ': '}{message}" in said
    assert "Traceback" not in said
    assert not site.run_dir.exists()
    assert not site.conf.exists()


def test_all_mistakes_are_shown_at_once(site_of):
    site = site_of()
    site.config.write_text("x: 1\nlisten: y\ncookie: {z: 1}\napps:\n  app: {target: gone.py, workers: -1}\n")
    failed = site.command(str(site.config))
    assert [line.split(":")[1] for line in failed.stderr.splitlines()] == ["1", "2", "3", "5", "5"]


def test_a_settings_file_that_is_not_there_is_named(site_of):
    failed = site_of().command("nowhere.yaml")
    assert failed.returncode == 2
    assert "nowhere.yaml: cannot be read: No such file or directory. Write one: python3 " in failed.stderr


def test_a_settings_file_that_names_no_app_says_how(site_of):
    site = site_of()
    for text in ("", "listen: 127.0.0.1:8080\n"):
        site.config.write_text(text)
        failed = site.command(str(site.config))
        assert failed.returncode == 2
        assert f"{site.config}:1: no app is named, and there is no app/app.py. Name yours: apps: " in failed.stderr


@pytest.mark.parametrize("written", ["8092", "'8092'", "':8092'", "[8092]"])
def test_a_port_alone_is_one_of_this_machine(tmp_path, written):
    file = tmp_path / "config.yaml"
    file.write_text(f"listen: {written}\napps: {{app: {{target: 'a:b'}}}}\n")
    assert load(file).listen == ["127.0.0.1:8092"]


# --- apps


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("app.py", "import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        pytest.param("app.py", "x = (", "SyntaxError", marks=pytest.mark.slow),
        ("app.py", "ap = 1", "has no 'app'"),
        pytest.param("app.py", "app = 1", "is no ASGI app, but of type int", marks=pytest.mark.slow),
        ("app.py:make", "def make(environ, start_response): pass", "It looks like WSGI (Flask, Django)"),
        ("app.py", "class app:\n    async def __call__(self, a, b, c): pass", "is no ASGI app, but a class"),
        ("app:app", "app = None", "is no ASGI app, but of type NoneType"),
        ("gone:app", "", "No module named 'gone'"),
    ],
)
def test_an_app_that_cannot_be_served_is_named_with_the_reason(site_of, target, code, says):
    site = site_of({"lab": {"target": target, "workers": 2}})
    (site.folder / "app.py").write_text(code)
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert says in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("App lab: ")
    assert site.processes() == []


def test_an_interpreter_without_uvicorn_is_told_what_to_install(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1, "python": "venv"}})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", site.folder / "venv"], check=True)
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"{site.folder}/venv/bin/python has no uvicorn" in failed.stderr
    assert "pip install shiny uvicorn" in failed.stderr


# --- the machine


def test_a_port_in_use_is_named_with_who_uses_it(site_of):
    site = site_of()
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port))
        other.listen()
        failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"127.0.0.1:{site.port} is in use by " in failed.stderr
    assert f"(pid {os.getpid()})" in failed.stderr
    assert site.processes() == []


def test_a_port_that_another_site_has_is_named_with_its_run_dir(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    failed = site_of(listen=site.settings["listen"]).command("config.yaml")
    assert f", of the shiny-sticky that runs in {site.run_dir}" in failed.stderr


@needs_root
@pytest.mark.skipif(UNPRIVILEGED_FROM <= 80, reason="everybody may open port 80 here")
def test_a_port_of_roots_is_named_with_what_to_do():
    said = told_to_other_user(lambda: check_ports(["127.0.0.1:80"], ours=[]))
    assert said.startswith("Port 80 may be opened by root only (listen: 127.0.0.1:80). Choose one from 1024 on, ")


@needs_root
def test_what_runs_as_another_user_is_no_launcher_that_does_not_answer(site_of):
    """`status`, say, without sudo."""
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    site.folder.chmod(0o755)
    for ask in (lambda: control.call(site.run_dir, "GET", "/status"), lambda: show(site.run_dir, None, 1, False)):
        said = told_to_other_user(ask)
        assert "another user's" in said and ": sudo " in said, said


@needs_root
def test_an_interpreter_out_of_the_users_reach_is_named_with_the_folder_that_is_closed(site_of):
    site = open_site(site_of, user=USER)
    closed = site.folder / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "bin" / "python").symlink_to("/usr/bin/python3")
    closed.chmod(0o700)
    site.settings["apps"]["app"]["python"] = str(closed)
    site.write()
    failed = site.command("--check", "config.yaml", program=program(site))
    assert failed.returncode == 1
    reached = (
        f"user: {USER} may not enter {closed}, and so cannot reach {closed}/bin/python (the Python of app app). "
    )
    assert failed.stderr.startswith(reached)


@needs_root
def test_an_interpreter_below_a_closed_folder_is_not_said_to_be_no_program(site_of):
    site = site_of()
    (site.folder / "bin").mkdir()
    (site.folder / "bin" / "python").symlink_to(sys.executable)
    app = {"target": "a:b", "python": str(site.folder / "bin" / "python")}
    said = told_to_other_user(lambda: AppSettings.model_validate(app))
    assert f"{app['python']} cannot be reached: {site.folder} may not be entered" in said


def test_an_address_of_another_machine_is_no_place_to_listen(site_of):
    site = site_of(listen="192.0.2.1:8080")
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert "192.0.2.1:8080 cannot be listened on: Cannot assign requested address" in failed.stderr


def test_without_nginx_the_command_that_installs_it_is_shown(site_of):
    failed = site_of(nginx={"binary": "/nowhere/nginx"}).command("config.yaml")
    assert failed.returncode == 1
    assert "There is no nginx (/nowhere/nginx)" in failed.stderr
    for command in ("apt-get install nginx libnginx-mod-http-js", "dnf install nginx", "apk add nginx"):
        assert command in failed.stderr


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ("nginx version: nginx/1.18.0", "/nginx -V` says, and too old: 1.22.1 or newer is needed."),
        ("nginx version: nginx/1.30.0\nconfigure arguments: --modules-path=/none", "has no njs"),
        ("something else", "is no nginx"),
    ],
)
def test_an_nginx_that_will_not_do_is_refused(site_of, about, says):
    """What such an nginx says of itself; for all else it is the real one, here without its modules."""
    site = site_of(nginx={"binary": "./nginx"})
    program = site.folder / "nginx"
    program.write_text(f"#!/bin/sh\n[ $1 != -V ] && exec /usr/sbin/nginx \"$@\"\necho '{about}' >&2\n")
    program.chmod(0o755)
    site.settings["nginx"]["binary"] = str(program)
    site.write()
    failed = site.command("config.yaml")
    assert failed.returncode == 1
    assert says in failed.stderr
    assert "apt-get install" in failed.stderr or says == "is no nginx"
    if "1.22.1" in says:
        assert "libnginx-mod-http-js" not in failed.stderr, "not what brought the one that is too old"


def test_a_run_dir_that_another_launcher_holds_is_refused(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"is in use by a running launcher (pid {site.launcher.pid})" in failed.stderr
    assert site.ask().status == 200


def test_a_shared_folder_is_no_run_dir(site_of):
    site = site_of()
    site.run_dir.mkdir(mode=0o1777)
    site.run_dir.chmod(0o1777)
    failed = site.command("config.yaml")
    assert failed.returncode == 1
    assert f"run_dir {site.run_dir} is a shared folder" in failed.stderr


# --- checking only


def test_check_starts_and_writes_nothing(site_of):
    site = site_of()
    checked = site.command("--check", str(site.config))
    assert (checked.returncode, checked.stdout) == (0, f"{site.config}: good\n")
    assert sorted(file.name for file in site.folder.iterdir()) == ["config.yaml"]


def test_check_tells_what_is_wrong(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 0}})
    failed = site.command("--check", str(site.config))
    assert failed.returncode == 2
    assert "apps.app.workers: expected greater than or equal to 1, got 0" in failed.stderr


def test_check_is_possible_beside_a_running_launcher(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    assert site.command("--check", str(site.config)).returncode == 0
    assert site.ask().status == 200


def test_the_shipped_settings_are_good_and_complete():
    """Every key stands in the file, with its default."""
    file = ROOT / "config.yaml"
    written = yaml.safe_load(file.read_text())
    assert [".".join(key) for key in keys_of(written)] == [key.replace("<name>", "app") for key, _ in all_keys()]
    assert load(file) == Settings.model_validate({}, context={"folder": ROOT})


def keys_of(written, place=()):
    """The places of all values in a settings file."""
    for key, value in written.items():
        if model_at((*place, key)) or key == "apps":
            yield from keys_of(value, (*place, key))
        else:
            yield (*place, key)


@pytest.mark.parametrize("key", [key for key, _ in all_keys()])
def test_a_slip_in_any_key_is_told_which_was_meant(tmp_path, key):
    """Also in those of groups that are added one day."""
    *groups, last = key.split(".")
    settings = {f"{last}x": None}
    for group in reversed(groups):
        settings = {group.strip("<>"): settings}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(SettingsError) as refused:
        load(file)
    place = ".".join([*groups, f"{last}x"]).replace("<name>", "name")
    assert f'{place}: unknown key; did you mean "{last}"?' in str(refused.value)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("100MB", 100 << 20),
        ("100 MiB", 100 << 20),
        ("100m", 100 << 20),
        ("1.5GB", 3 << 29),
        ("2k", 2048),
        ("2048B", 2048),
        ("2048", 2048),
    ],
)
def test_sizes_are_read_as_nginx_reads_them(written, size):
    assert AppSettings.model_validate({"target": "a:b", "max_upload": written}).max_upload == size


def test_a_path_with_a_space_is_no_trouble(tmp_path):
    with Site(
        {"app": {"target": ECHO, "workers": 2}}, run_dir="my run", nginx={"conf": "my conf/sticky.conf"}
    ) as site:
        site.run_dir = site.folder / "my run"
        site.start()
        assert site.ask(cookie="sticky=app2").worker == "app2"
        assert site.ask(cookie="sticky=app2").set_cookies == []
