"""The wheel works outside the checkout; schema and settings file are what they say."""

import json
import re
import subprocess
import sys
import venv
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from shiny_sticky import __version__
from shiny_sticky.settings.model import Settings
from support.real_site import APPS, ECHO, ROOT, Site


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A virtual environment with the project's wheel in it; other packages are this environment's."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True, cwd=folder
    )
    (wheel,) = folder.glob("shiny_sticky-*.whl")
    venv.create(folder / "venv", with_pip=False)
    inside = next((folder / "venv" / "lib").glob("python*/site-packages"))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "-t", inside, wheel], check=True)
    others = next(path for path in sys.path if path.endswith("site-packages"))
    (inside / "others.pth").write_text(others + "\n")
    return folder / "venv" / "bin"


def test_the_wheel_serves_outside_the_checkout(installed):
    with Site({"app": {"target": ECHO, "workers": 2}}) as site:
        where = subprocess.run(
            [installed / "python", "-c", "import shiny_sticky; print(shiny_sticky.__file__)"],
            capture_output=True,
            text=True,
            check=True,
            cwd=site.folder,
        )
        assert str(installed.parent) in where.stdout
        code = "import sys; from shiny_sticky.cli import main; sys.exit(main())"
        site.start(program=[str(installed / "python"), "-c", code])
        assert site.ask(cookie="sticky=app2").worker == "app2"
        assert str(installed.parent) in site.conf.read_text(), "the njs script is the wheel's own"
        assert site.stop() == 0


def test_the_wheel_brings_the_command(installed):
    (entry,) = installed.parent.glob("lib/python*/site-packages/shiny_sticky-*.dist-info/entry_points.txt")
    assert "shiny-sticky = shiny_sticky.cli:main" in entry.read_text()


def test_what_workers_serve_with_is_for_an_app_to_pin():
    """No upper bound, and nothing is drawn in that serves nobody: a template may ask for websockets below 16."""
    required = {found.name: found for found in map(Requirement, requires("shiny-sticky"))}
    for name, oldest in {"uvicorn": "0.23", "uvloop": "0.17", "httptools": "0.5", "websockets": "13"}.items():
        assert not required[name].extras, name
        assert str(required[name].specifier) == f">={oldest}"


def test_the_published_schema_is_that_of_the_settings():
    published = json.loads((ROOT / "conf" / "config.schema.json").read_text())
    assert published == json.loads(json.dumps(Settings.model_json_schema()))
    keys = [published["properties"], *(definition["properties"] for definition in published["$defs"].values())]
    for key, described in ((key, its) for keys_of in keys for key, its in keys_of.items()):
        assert "description" in described or "$ref" in described, f"{key} has no description"


def test_the_command_line_shows_its_help_and_version():
    for argument, says in (("--help", "sticky workers"), ("--version", f"shiny-sticky {__version__}\n")):
        shown = subprocess.run(
            [sys.executable, ROOT / "launcher.py", argument], capture_output=True, text=True, check=True
        )
        assert says in shown.stdout


def test_the_version_stands_in_one_place(installed):
    (metadata,) = installed.parent.glob("lib/python*/site-packages/shiny_sticky-*.dist-info/METADATA")
    assert f"\nVersion: {__version__}\n" in metadata.read_text()
    assert not re.search("^version", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_the_changelog_tells_of_this_version():
    """Under its own heading, or, before it is released, as what is to come."""
    headings = re.findall(r"^## \[(.+?)\].*\n\n(.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    newest, about = headings[0]
    assert newest == __version__ or (newest == "Unreleased" and __version__ in about)


def test_browse_opens_as_many_tabs_as_asked_for(tmp_path):
    """With a browser that notes what it is asked to open."""
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/opened\n")
    browser.chmod(0o755)
    with Site({"app": {"target": str(APPS / "echo.py"), "workers": 1}}) as site:
        site.env["BROWSER"] = f"{browser} %s"
        failed = site.command("browse", str(site.config))
        assert failed.returncode == 1
        assert f"Nothing answers at http://127.0.0.1:{site.port}/" in failed.stderr
        site.start()
        opened = site.command("browse", "-n", "10", str(site.config))
        assert opened.returncode == 0, opened.stderr
    assert (tmp_path / "opened").read_text().split() == [f"http://127.0.0.1:{site.port}/"] * 10
