"""The nginx, with njs, of another Debian than the system's: unpacked into a folder, and run from there.

No part of the system changes, and it takes neither root nor chroot. apt resolves and downloads, with lists and a
cache of its own; the mirror is the one that the system uses. The folder is kept for the next time.

As a program: ``debian_nginx.py trixie sid`` prints the path of each, for TEST_NGINX, and says which it leaves out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".cache"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# nginx looks for its modules where it was built for; the launcher finds the folder in what `nginx -V` says.
PROGRAM = """\
#!/bin/sh
# nginx of Debian {suite}, with that Debian's own libraries.
case $1 in
-V) {nginx} "$@" 2>&1 | sed 's|--modules-path=[^ ]*|--modules-path={modules}|' >&2 ;;
*) exec {nginx} "$@" ;;
esac
"""


class Unavailable(Exception):
    """It cannot be had; the text says why."""


def unpacked(suite: str) -> bool:
    """Whether it need not be downloaded."""
    return (FOLDER / f"nginx-{suite}" / "root/usr/sbin/nginx").is_file()


def program(suite: str) -> Path:
    """A program that runs it; downloads it if need be.

    Args:
        suite: such as trixie.

    Raises:
        Unavailable: it cannot be had.
    """
    folder = FOLDER / f"nginx-{suite}"
    root = folder / "root"
    if not unpacked(suite):
        _download(suite, folder, root)
    libraries = [*root.glob("usr/lib/*-linux-*/"), *root.glob("lib/*-linux-*/")]  # the latter before trixie
    loader = next(file for place in libraries for name in ("ld-linux*", "ld64*") for file in place.glob(name))
    made = folder / "nginx"
    command = [str(loader), "--library-path", ":".join(map(str, libraries)), "--argv0", str(made)]
    command.append(str(root / "usr/sbin/nginx"))
    modules = root / "usr/lib/nginx/modules"
    made.write_text(PROGRAM.format(suite=suite, nginx=shlex.join(command), modules=modules))
    made.chmod(0o755)
    return made


def version(nginx: str | Path) -> str:
    """The version of an nginx."""
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def _download(suite: str, folder: Path, root: Path) -> None:
    mirror = _mirror()
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()  # nothing is installed there yet, so that every dependency is fetched
    (folder / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror} {suite} main\n")
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update", "--error-on=any"])
    _run([*apt, "--no-install-recommends", "--download-only", "install", "nginx", "libnginx-mod-http-js"])
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    for package in (folder / "cache/archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(new)])
    shutil.rmtree(root, ignore_errors=True)
    new.rename(root)


def _mirror() -> str:
    """Where this system, if it is Debian, has its packages from.

    Raises:
        Unavailable: it is not, or says nothing of the kind.
    """
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in sources:
        if file.is_file() and file.suffix in (".list", ".sources"):
            text = re.sub(r"#.*", "", file.read_text(errors="replace"))
            if found := re.search(r"\b(?:https?|file)://\S+/debian/?(?=\s|$)", text):
                return found[0]
    raise Unavailable("it is Debian's, and apt's sources here name no mirror of that")


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
        raise Unavailable(str(error)) from None
    if ran.returncode:
        raise Unavailable(ran.stderr.strip()[-300:])


def main(suites: list[str]) -> None:
    """Print the program of each suite, but for those whose nginx the system has itself."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    seen = {version(found): "the system's own"} if (found := shutil.which("nginx", path=path)) else {}
    for suite in suites:
        try:
            made = program(suite)
        except Unavailable as reason:
            print(f"nginx of Debian {suite} is left out: {reason}", file=sys.stderr)
            continue
        number = version(made)
        if number in seen:
            print(f"nginx of Debian {suite} is left out: it is {number}, as is {seen[number]}", file=sys.stderr)
            continue
        seen[number] = f"that of {suite}"
        print(f"nginx of Debian {suite} is {number}", file=sys.stderr)
        print(made)


if __name__ == "__main__":
    main(sys.argv[1:])
