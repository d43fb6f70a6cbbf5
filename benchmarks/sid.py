"""A newer nginx than the system's: Debian sid's, unpacked into a folder and run from there.

No part of the system changes, and it takes neither root nor chroot. apt resolves and downloads, with lists and
a cache of its own; the mirror is the one that the system uses. The folder is kept for the next time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from programs import Missing

FOLDER = Path(__file__).resolve().parent / ".cache" / "sid"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

download_allowed = True


def nginx() -> list[str]:
    """The command that runs it; downloads it if need be.

    Raises:
        Missing: it cannot be had; says why.
    """
    root = FOLDER / "root"
    if not (root / "usr/sbin/nginx").is_file():
        if not download_allowed:
            raise Missing("sid's nginx is not there, and is not downloaded now")
        _download(root)
    libraries = next(root.glob("usr/lib/*/libc.so.6")).parent
    loader = next(file for pattern in ("ld-linux*", "ld64*") for file in libraries.glob(pattern))
    return [str(loader), "--library-path", str(libraries), str(root / "usr/sbin/nginx")]


def _download(root: Path) -> None:
    mirror = _mirror()
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    (FOLDER / "status").touch()  # nothing is installed there yet, so that every dependency is fetched
    (FOLDER / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror} sid main\n")
    options = {
        "Dir::State": FOLDER / "state",
        "Dir::State::status": FOLDER / "status",
        "Dir::Cache": FOLDER / "cache",
        "Dir::Etc::sourcelist": FOLDER / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update", "--error-on=any"])
    _run([*apt, "--no-install-recommends", "--download-only", "install", "nginx"])
    new = FOLDER / "new"
    shutil.rmtree(new, ignore_errors=True)
    for package in (FOLDER / "cache/archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(new)])
    shutil.rmtree(root, ignore_errors=True)
    new.rename(root)


def _mirror() -> str:
    """Where this system, if it is Debian, has its packages from.

    Raises:
        Missing: it is not, or says nothing of the kind.
    """
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in sources:
        if file.is_file() and file.suffix in (".list", ".sources"):
            text = re.sub(r"#.*", "", file.read_text(errors="replace"))
            if found := re.search(r"\b(?:https?|file)://\S+/debian/?(?=\s|$)", text):
                return found[0]
    raise Missing("sid's nginx is for Debian; apt's sources name no mirror of it")


def _run(command: list[str]) -> None:
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"sid's nginx cannot be had: {error}") from None
    if ran.returncode:
        raise Missing(f"sid's nginx cannot be had: {ran.stderr.strip()[-300:]}")
