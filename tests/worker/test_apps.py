"""What can be served: Shiny Core and Express, modules, apps with an interpreter of their own."""

import json
import re
from pathlib import Path

import pytest

from support.echo_site import echo_site
from support.interpreter import interpreter
from support.real_site import APPS, ECHO, Site


def session(site: Site, path: str = "/") -> dict:
    """Open a Shiny session as a browser does, and give the first values of its outputs."""
    page = site.ask(path)
    assert page.status == 200, page.body
    cookie = page.set_cookies[0].split(";")[0]
    socket = site.websocket(f"{path}websocket/", cookie=cookie)
    values = {}
    try:
        assert "sessionId" in json.loads(socket.recv())["config"]
        hidden = {".clientdata_output_who_hidden": False, ".clientdata_pixelratio": 1}
        socket.send(json.dumps({"method": "init", "data": hidden}))
        while "who" not in values:
            values |= json.loads(socket.recv()).get("values") or {}
    finally:
        socket.close()
    return values


def assets(site: Site, path: str = "/") -> list[str]:
    """What a page asks for, as its own URLs."""
    html = site.ask(path).body.decode()
    return re.findall(r'(?:src|href)="(lib/[^"]+)"', html)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("core", "/"),
        ("express", "/foo/bar/"),
        pytest.param("core", "/foo/", marks=pytest.mark.slow),
        pytest.param("core", "/foo/bar/", marks=pytest.mark.slow),
        pytest.param("express", "/", marks=pytest.mark.slow),
        pytest.param("express", "/foo/", marks=pytest.mark.slow),
    ],
)
def test_shiny_apps_are_served_in_full_at_any_path(site_of, kind, path):
    target = str(APPS / f"{kind}_app.py")
    site = site_of({"app": {"target": target, "workers": 2, "path": path}}).start()
    assert session(site, path) == {"who": kind}
    urls = assets(site, path)
    assert urls
    for url in urls:
        assert site.ask(path + url).status == 200, url


@pytest.mark.parametrize("path", [pytest.param("/", marks=pytest.mark.slow), "/foo/"])
def test_every_worker_has_the_files_of_a_page_that_another_made(site_of, path):
    """Also of a UI that is a function: Shiny knows its files only where it was called."""
    site = site_of({"app": {"target": str(APPS / "function_ui.py"), "workers": 3, "path": path}}).start()
    page = site.ask(path, cookie="sticky=app1")
    for url in re.findall(r'(?:src|href)="(lib/[^"]+)"', page.body.decode()):
        for worker in ("app2", "app3"):
            assert site.ask(path + url, cookie=f"sticky={worker}").status == 200, (worker, url)


def test_a_module_beside_the_settings_is_served(site_of):
    site = site_of({"app": {"target": "lab.main:served.app", "workers": 1}})
    (site.folder / "lab").mkdir()
    (site.folder / "lab" / "__init__.py").touch()
    (site.folder / "lab" / "served.py").write_text(Path(ECHO).read_text())
    (site.folder / "lab" / "main.py").write_text("from lab import served\n")
    site.start()
    assert site.ask().worker == "app1"


def test_an_app_finds_the_modules_and_files_beside_it(site_of):
    """And a module named as one of the launcher's own is its own."""
    site = site_of({"app": {"target": "sub/app.py", "workers": 1}})
    (site.folder / "sub").mkdir()
    (site.folder / "sub" / "settings.py").write_text(
        f"from runpy import run_path\necho = run_path({ECHO!r})['app']\n"
    )
    (site.folder / "sub" / "data.txt").write_text("here")
    (site.folder / "sub" / "app.py").write_text(
        "from settings import echo as app\nassert open('data.txt').read() == 'here'\n"
    )
    site.start()
    assert site.ask().worker == "app1"


def test_an_app_that_does_without_shiny_is_spared_its_import(site_of):
    code = "import sys\nearlier = me\ndef me():\n    return {**earlier(), 'imported': 'shiny' in sys.modules}\n"
    site = echo_site(site_of, code, workers=1)
    assert site.ask().json["imported"] is False


@pytest.mark.parametrize(
    "name",
    [
        "uvicorn.py",
        pytest.param("worker.py", marks=pytest.mark.slow),
        pytest.param("my app.py", marks=pytest.mark.slow),
    ],
)
def test_any_file_name_will_do(site_of, name):
    site = site_of({"app": {"target": name, "workers": 1}})
    (site.folder / name).write_text(Path(ECHO).read_text())
    site.start()
    assert site.ask().status == 200


def test_the_environment_of_an_app_is_its_own(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1, "env": {"GREETING": 42}}}).start()
    assert site.ask().json["env"] == "42"
    seen = site.ask().json
    assert seen["incarnation"].startswith("app1.")


def test_an_app_in_a_virtual_environment_of_its_own(site_of):
    """It needs shiny and uvicorn only: neither pydantic, jinja2, psutil nor this project."""
    site = site_of({"app": {"target": str(APPS / "core_app.py"), "workers": 1, "python": "venv"}})
    # Its packages are those of this environment, but for what the launcher alone needs.
    interpreter(site.folder / "venv", missing=("jinja2", "psutil", "shiny_sticky", "rich", "yaml"))
    site.start()
    assert session(site) == {"who": "core"}
