"""A newer nginx than the system's: Debian sid's, as the tests unpack it."""

from __future__ import annotations

import sys
from pathlib import Path

from programs import Missing

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import debian_nginx

download_allowed = True


def nginx() -> list[str]:
    """The command that runs it; downloads it if need be.

    Raises:
        Missing: it cannot be had; says why.
    """
    if not download_allowed and not debian_nginx.unpacked("sid"):
        raise Missing("sid's nginx is not there, and is not downloaded now")
    try:
        return [str(debian_nginx.program("sid"))]
    except debian_nginx.Unavailable as error:
        raise Missing(f"sid's nginx cannot be had: {error}") from None
