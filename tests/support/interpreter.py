"""Interpreters that an app may have of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def interpreter(folder: Path, missing: tuple[str, ...] = (), modules: dict[str, str] | None = None) -> Path:
    """Make a virtual environment that has the packages of this one, with some exceptions.

    Args:
        folder: where to make it.
        missing: modules that cannot be imported there.
        modules: name to code of modules that are others there.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    inside = next((folder / "lib").glob("python*/site-packages"))
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (inside / "own.pth").write_text(packages + "\n")
    for name in missing:
        (inside / f"{name}.py").write_text(f"raise ImportError('{name} is not in this environment')\n")
    for name, code in (modules or {}).items():
        (inside / f"{name}.py").write_text(code)
    return folder
