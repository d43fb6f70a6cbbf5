"""The project and Python packages in a folder that every user may enter, wherever the checkout is."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

from packaging.requirements import Requirement

from support.real_site import ROOT


def copy_project(folder: Path) -> Path:
    """Copy what serves.

    Args:
        folder: where to; it is made.

    Returns:
        The copy's launcher.py.
    """
    for name in ("shiny_sticky", "njs", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(ROOT / "launcher.py", folder))


def copy_packages(folder: Path, *names: str) -> None:
    """Copy installed distributions, and what they require without extras.

    Args:
        folder: where to, to be named in PYTHONPATH.
        names: of the distributions.
    """
    wanted, done = list(names), set()
    while wanted:
        distribution = importlib.metadata.distribution(wanted.pop())
        done.add(distribution.name)
        for file in distribution.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), folder / file)
        needed = [Requirement(line) for line in distribution.requires or []]
        here = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
        wanted += {one.name for one in here} - done
