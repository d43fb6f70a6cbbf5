"""How this program was called, for the hints that name it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def name() -> str:
    """What to type for this program: ``shiny-sticky``, ``python3 launcher.py``, ``python3 -m shiny_sticky``."""
    called = Path(sys.argv[0])
    if called.name == "launcher.py":
        return f"python3 {sys.argv[0]}"
    return "python3 -m shiny_sticky" if called.name == "__main__.py" else "shiny-sticky"


def again() -> str:
    """What was typed for what this process does, to be typed once more in another way."""
    return f"{name()} {shlex.join(sys.argv[1:])}".rstrip()
