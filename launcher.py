#!/usr/bin/env python3
"""Serve a Shiny app on N sticky workers: ``python3 launcher.py config.yaml``."""

import importlib.util
import os
import sys
from pathlib import Path


def use_own_environment() -> None:
    """Go on with .venv beside this file, if that is there and this Python lacks what is needed."""
    python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if importlib.util.find_spec("pydantic") is None and python.exists():
        os.execv(python, [str(python), *sys.argv])


if __name__ == "__main__":
    use_own_environment()
    from shiny_sticky.cli import main

    raise SystemExit(main())
