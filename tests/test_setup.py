"""scripts/setup installs what each use of a checkout needs, and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.real_site import ROOT
from support.waiting import PATIENCE

# As much as .venv may take, in MB. It is 182 with Shiny 1.8, 33 of them a compiler for Sass that Shiny brings.
RUN_SIZE = 250


def ran(folder: Path, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(folder: Path) -> set[str]:
    listed = ran(folder, ".venv/bin/pip", "list", "--format=freeze", "--disable-pip-version-check")
    return {line.partition("==")[0].lower() for line in listed.splitlines()}


@pytest.mark.slow
def test_run_and_lint_bring_what_they_need_and_no_more(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".git", ".?*env", ".?*cache", "run"), symlinks=True
    )
    first = ran(checkout, "scripts/setup")
    assert "Installing the project into .venv" in first
    assert "shiny" in installed(checkout)
    assert not installed(checkout) & {"pytest", "playwright", "pandas", "mypy", "ruff"}
    assert int(ran(checkout, "du", "-sm", ".venv").split()[0]) <= RUN_SIZE
    assert ran(checkout, "scripts/setup") == "", "nothing is lacking"
    ran(checkout, "make", "lint", "types", "schema")
    assert installed(checkout) & {"pytest", "playwright", "mypy", "ruff"} == {"mypy", "ruff"}
    schema = Path("conf", "config.schema.json")
    assert (checkout / schema).read_text() == (ROOT / schema).read_text()
