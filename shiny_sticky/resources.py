"""Files that come with the project: in the wheel inside the package, in a checkout beside it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Where a shipped file or folder is, such as ``njs/sticky.js``."""
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name
