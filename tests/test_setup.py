"""A checkout gets what each use of it needs, and nothing else; then one command serves an app of one's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.real_site import ECHO, ROOT
from support.waiting import PATIENCE

# As much as .venv may take, in MB. It is 182 with Shiny 1.8, 33 of them a compiler for Sass that Shiny brings.
RUN_SIZE = 250

# Seconds for pip, which has a hundred packages to fetch and unpack.
INSTALL_SECONDS = 30 * PATIENCE

NOT_KEPT = shutil.ignore_patterns(".git", ".?*env", ".?*cache", "run")


def ran(folder: Path, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=INSTALL_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(checkout: Path) -> set[str]:
    listed = ran(checkout, ".venv/bin/pip", "list", "--format=freeze", "--disable-pip-version-check")
    return {line.partition("==")[0].lower() for line in listed.splitlines()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout in which nothing is installed yet."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("new") / "checkout", ignore=NOT_KEPT, symlinks=True))


@pytest.mark.slow
def test_one_command_serves_an_app_of_ones_own_with_nothing_that_only_tests_need(checkout, site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}})
    site.config.unlink()
    words = ["make", "-C", str(checkout), "run", f"APP={ECHO}", f"ARGS=-w 2 -p {site.port}"]
    site.start(program=words, config=False, timeout=INSTALL_SECONDS)
    assert site.said("Installing the project into .venv")
    assert site.ask(cookie="sticky=app2").worker == "app2"
    site.stop()
    assert not installed(checkout) & {"pytest", "playwright", "pandas", "mypy", "ruff"}
    assert int(ran(checkout, "du", "-sm", ".venv").split()[0]) <= RUN_SIZE
    assert ran(checkout, "scripts/setup") == "", "nothing is lacking"


@pytest.mark.slow
def test_schema_lint_and_types_bring_their_tools_and_no_more(checkout):
    assert ran(ROOT, "make", "-n", "lint", "types", "schema").count("scripts/setup --lint") == 3
    ran(checkout, "make", "schema")
    assert installed(checkout) & {"pytest", "playwright", "mypy", "ruff"} == {"mypy", "ruff"}
    schema = Path("conf", "config.schema.json")
    assert (checkout / schema).read_text() == (ROOT / schema).read_text()


def test_a_virtual_environment_of_another_folder_is_not_emptied(tmp_path):
    other, here = tmp_path / "other", tmp_path / "here"
    other.mkdir()
    (other / "kept").touch()
    shutil.copytree(ROOT / "scripts", here / "scripts")
    shutil.copy(ROOT / "pyproject.toml", here)
    (here / ".venv").symlink_to(other)
    done = subprocess.run(["scripts/setup", "--lint"], capture_output=True, text=True, cwd=here, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f".venv is a link to {other}, which was not made for {here}.\n"
        f"Remove the link, and try again: rm '{here}/.venv'\n"
    )
    assert (other / "kept").exists()
