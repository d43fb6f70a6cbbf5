"""The interpreter that a person works with, when this program has one of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def active() -> str | None:
    """The interpreter of the active virtual environment; None if there is none, or it is this program's own."""
    folder = os.environ.get("VIRTUAL_ENV")
    if not folder or Path(folder).resolve() == Path(sys.prefix).resolve():
        return None
    python = Path(folder, "bin", "python")
    return str(python) if python.exists() else None
