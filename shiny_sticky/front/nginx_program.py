"""The nginx of this machine: found, asked what it can do, made to test a configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from shiny_sticky import resources
from shiny_sticky.errors import StickyError

OLDEST_VERSION = (1, 22, 1)

INSTALL = """\
  Debian, Ubuntu:  sudo apt-get install nginx libnginx-mod-http-js
  Fedora:          sudo dnf install nginx nginx-mod-js
  Alpine:          sudo apk add nginx nginx-mod-http-js
  macOS:           see https://nginx.org/en/docs/njs/install.html"""

# What INSTALL brings may be what is there already: each system has one version for as long as it lives.
NEWER = """\
  Debian 12, Ubuntu 24.04, and what is newer, have it. For an older system nginx.org has packages: add them as
  https://nginx.org/en/linux_packages.html says, then
  Debian, Ubuntu:  sudo apt-get install nginx nginx-module-njs
  Fedora, RHEL:    sudo dnf install nginx nginx-module-njs
Or name another nginx of this machine: nginx.binary in the settings."""

# The first that keeps connections to upstreams open by default (32 of each; "keepalive" in its documentation).
KEEPS_CONNECTIONS = (1, 29, 7)

# Where distributions keep dynamic modules when `nginx -V` does not name the folder.
MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")


@dataclass(frozen=True)
class Nginx:
    """An nginx program with njs.

    Attributes:
        path: the program.
        njs_module: the dynamic module to load; None when njs is compiled in.
        other_upstreams: fastcgi, uwsgi and scgi, as far as they are compiled in; each creates a folder at start.
        has_realip: whether it can take the client's address from a trusted proxy.
        keeps_connections: whether it keeps connections to upstreams that do not say how many.
    """

    path: str
    njs_module: str | None
    other_upstreams: tuple[str, ...]
    has_realip: bool
    keeps_connections: bool

    def test(self, conf: Path, errors: Path) -> None:
        """Let nginx check a configuration; it starts nothing.

        Args:
            conf: the configuration.
            errors: a file for what nginx says before it has read which log to use.

        Raises:
            StickyError: with what nginx says.
        """
        command = [self.path, "-t", "-q", "-e", str(errors), "-c", str(conf)]
        # It makes the logs, should they be missing; these name sessions.
        run = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o077)
        if run.returncode:
            raise StickyError(f"nginx does not accept the configuration {conf}:\n{run.stderr.strip()}")


def find(binary: str) -> Nginx:
    """Look for nginx, and see what it can do.

    Args:
        binary: a path, or a name in PATH or the folders for system programs.

    Raises:
        StickyError: it is missing, too old, or without njs; says how to install it.
    """
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])
    path = shutil.which(binary, path=search)
    if path is None:
        raise StickyError(f"There is no nginx ({binary}) on this machine. Install it with njs:\n{INSTALL}")
    try:
        about = subprocess.run([path, "-V"], capture_output=True, text=True, check=False).stderr
    except OSError as error:
        raise StickyError(f"{path} cannot be run: {error.strerror}") from None
    version = _version(path, about)
    module = _njs_module(about)
    if module is None and not _has_builtin_njs(path):
        raise StickyError(f"{path} (nginx {version}) has no njs, its JavaScript module. Install it:\n{INSTALL}")
    return Nginx(
        path=path,
        njs_module=module,
        other_upstreams=tuple(
            name for name in ("fastcgi", "uwsgi", "scgi") if f"--without-http_{name}_module" not in about
        ),
        has_realip="--with-http_realip_module" in about,
        keeps_connections=_parts(version) >= KEEPS_CONNECTIONS,
    )


def _version(path: str, about: str) -> str:
    """The version of an nginx, as in ``1.22.1``.

    Args:
        path: the program.
        about: what `nginx -V` says.

    Raises:
        StickyError: it is too old, or no nginx.
    """
    found = re.search(r"^nginx version: \S+?/(\d+(?:\.\d+)+)", about, re.MULTILINE)
    if not found:
        raise StickyError(f"{path} is no nginx: `{path} -V` names no version.")
    if _parts(found[1]) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise StickyError(
            f"{path} is nginx {found[1]}, as `{path} -V` says, and too old: {oldest} or newer is needed.\n{NEWER}"
        )
    return found[1]


def _parts(version: str) -> tuple[int, ...]:
    """A version as a number of numbers, which can be compared."""
    return tuple(map(int, version.split(".")))


def _njs_module(about: str) -> str | None:
    """Njs's module file, where this nginx looks for modules; None if there is none."""
    folders = re.findall(r"--modules-path=(\S+)", about) or MODULE_FOLDERS
    modules = [f"{folder.rstrip('/')}/ngx_http_js_module.so" for folder in folders]
    return next((file for file in modules if Path(file).is_file()), None)


def _has_builtin_njs(path: str) -> bool:
    """Whether an nginx without a module file knows njs's directives all the same."""
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "njs.conf")
        conf.write_text(
            f"pid {folder}/pid; error_log {folder}/log; events {{}}"
            f" http {{ js_import sticky from {resources.path('njs/sticky.js')}; }}"
        )
        command = [path, "-t", "-e", f"{folder}/log", "-c", str(conf)]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return 'unknown directive "js_import"' not in said
