"""The web server in front: which nginx there is, and the configuration that is written for it."""

from __future__ import annotations

import contextlib
import grp
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from shiny_sticky import processes, resources
from shiny_sticky.errors import StickyError
from shiny_sticky.settings.model import (
    IDENTITY_HEADERS,
    SHINY_LIB,
    AppSettings,
    Settings,
)
from shiny_sticky.settings.names import TAG_PATTERN, worker_names
from shiny_sticky.settings.users import owner_of

OLDEST_VERSION = (1, 22, 1)

INSTALL = """\
  Debian, Ubuntu:  sudo apt-get install nginx libnginx-mod-http-js
  Fedora:          sudo dnf install nginx nginx-mod-js
  Alpine:          sudo apk add nginx nginx-mod-http-js
  macOS:           see https://nginx.org/en/docs/njs/install.html"""

# Where distributions keep dynamic modules when `nginx -V` does not name the folder.
MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")


# Of what is compressed for each request anew.
GZIP_LEVEL = 1

# NAME in an Accept-Encoding header, unless it comes with q=0, which refuses it: RFC 9110, section 12.5.3. A worker
# that compresses reads the header in the same way (worker/compression.py).
ACCEPTED = r"~*\bNAME\b(?![ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:,|$))"


@dataclass(frozen=True)
class Nginx:
    """An nginx program with njs.

    Attributes:
        path: the program.
        version: as in (1, 22, 1).
        njs_module: the dynamic module to load; None when njs is compiled in.
        other_upstreams: fastcgi, uwsgi and scgi, as far as they are compiled in; each creates a folder at start.
        has_realip: whether it can take the client's address from a trusted proxy.
    """

    path: str
    version: tuple[int, ...]
    njs_module: str | None
    other_upstreams: tuple[str, ...]
    has_realip: bool

    def test(self, conf: Path, errors: Path) -> None:
        """Let nginx check a configuration; it starts nothing.

        Args:
            conf: the configuration.
            errors: a file for what nginx says before it has read which log to use.

        Raises:
            StickyError: with what nginx says.
        """
        command = [self.path, "-t", "-q", "-e", str(errors), "-c", str(conf)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
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
    found = re.search(r"^nginx version: \S+?/(\d+(?:\.\d+)+)", about, re.MULTILINE)
    if not found:
        raise StickyError(f"{path} is no nginx: `{path} -V` names no version.")
    version = tuple(int(part) for part in found[1].split("."))
    if version < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise StickyError(f"{path} is nginx {found[1]}; {oldest} is the oldest that works. Newer:\n{INSTALL}")

    folders = re.findall(r"--modules-path=(\S+)", about) or MODULE_FOLDERS
    modules = [f"{folder.rstrip('/')}/ngx_http_js_module.so" for folder in folders]
    module = next((file for file in modules if Path(file).is_file()), None)
    if module is None and not _has_builtin_njs(path):
        raise StickyError(f"{path} (nginx {found[1]}) has no njs, its JavaScript module. Install it:\n{INSTALL}")
    return Nginx(
        path=path,
        version=version,
        njs_module=module,
        other_upstreams=tuple(
            name for name in ("fastcgi", "uwsgi", "scgi") if f"--without-http_{name}_module" not in about
        ),
        has_realip="--with-http_realip_module" in about,
    )


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


def render(settings: Settings, nginx: Nginx, source: Path, *, snippet: bool = False) -> str:
    """Write the nginx configuration.

    Args:
        settings: what to serve.
        nginx: the program that it is for.
        source: the settings file, named in the first line.
        snippet: only what belongs into an existing ``http {}``.

    Raises:
        StickyError: a setting needs what this nginx lacks.
    """
    if settings.trusted_proxies and not nginx.has_realip:
        raise StickyError(f"trusted_proxies needs nginx's realip module; {nginx.path} is compiled without it.")
    template = _environment().get_template("snippet.conf.j2" if snippet else "sticky.conf.j2")
    trusted = bool(settings.trusted_proxies)
    identity = [(name, name.lower().replace("-", "_")) for name in settings.identity_headers]
    passed = {name.lower() for name in settings.identity_headers}
    text = template.render(
        source=source,
        conf=settings.nginx.conf,
        njs_module=nginx.njs_module,
        njs_script=resources.path("njs/sticky.js"),
        unavailable_page=resources.path("conf/unavailable.html").read_text(encoding="utf-8").strip(),
        other_upstreams=nginx.other_upstreams,
        user=_user_directive(settings),
        run_dir=settings.run_dir,
        sockets_pattern=re.escape(str(settings.run_dir)),
        open_files=processes.open_files_limit(),
        listen=settings.listen,
        trusted_proxies=settings.trusted_proxies,
        proto="$sticky_proto" if trusted else "$scheme",
        host="$sticky_host" if trusted else "$http_host",
        secure_auto=settings.cookie.secure == "auto",
        stripped_headers=[name for name in IDENTITY_HEADERS if name.lower() not in passed],
        identity_headers=identity,
        gzip_level=GZIP_LEVEL,
        cache=_cache(settings),
        apps=[_app(settings, name, app) for name, app in settings.apps.items()],
    )
    return re.sub(r"\n{3,}", "\n\n", text).lstrip("\n").rstrip() + "\n"


def _cache(settings: Settings) -> dict[str, Any] | None:
    """What the template needs to know of the cache; None if there is none."""
    if not settings.cache.enabled:
        return None
    return {"max_size": nginx_size(settings.cache.max_size), "accepted": ACCEPTED}


def _app(settings: Settings, name: str, app: AppSettings) -> dict[str, Any]:
    """What the template needs to know of an app."""
    return {
        "name": name,
        "path": app.path,
        "workers": app.workers,
        "names": name + numbers_pattern(app.workers),
        "incarnations": incarnations_pattern(name, list(settings.apps)),
        "names_list": worker_names(name, app.workers),
        "cookie": settings.cookie_name(name),
        "cached": _cached_locations(settings, name),
        "attributes": cookie_attributes(settings, app.path),
        "max_upload": nginx_size(app.max_upload),
        # A server takes well under 1 KB of the zone; the rest is nginx's own bookkeeping.
        "zone": f"{64 + 2 * app.workers}k",
        "keepalive": max(16, 4 * app.workers),
    }


def _cached_locations(settings: Settings, name: str) -> list[str]:
    """The locations within an app's whose files may be kept, as nginx writes them; exact for a file."""
    if not settings.cache.enabled:
        return []
    paths = [f"{settings.apps[name].path}{SHINY_LIB}", *settings.cached_paths(name)]
    return [f"^~ {path}" if path.endswith("/") else f"= {path}" for path in paths]


def cookie_attributes(settings: Settings, path: str) -> str:
    """The attributes of a cookie that do not depend on the request, as Set-Cookie words them (RFC 6265)."""
    cookie = settings.cookie
    parts = [f"Path={path}", "HttpOnly", f"SameSite={cookie.same_site.capitalize()}"]
    if cookie.max_age is not None:
        parts.append(f"Max-Age={cookie.max_age}")
    if cookie.domain is not None:
        parts.append(f"Domain={cookie.domain}")
    if cookie.secure is True:
        parts.append("Secure")
    return "; ".join(parts)


def numbers_pattern(last: int) -> str:
    """A regular expression that matches 1, 2, ... last, and nothing else.

    Args:
        last: 1 to 999.

    Returns:
        Such as ``[1-4]`` for 4, ``(?:[1-9]|1[0-2])`` for 12.
    """
    parts: list[str] = []
    for digits in range(1, len(str(last))):
        parts += _up_to("9" * digits, 1)
    parts += _up_to(str(last), 1)
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def incarnations_pattern(app: str, apps: list[str]) -> str:
    """A regular expression that matches the names of an app's processes, of any number up to 999.

    Args:
        app: such as ``app``.
        apps: all apps; what could be the name of another one's process is left out: the first of ``app1`` is
            ``app11.k3f9``.
    """
    others = "".join(f"(?!{other}[1-9])" for other in apps if re.fullmatch(f"{app}[1-9][0-9]?", other))
    return rf"{others}{app}[1-9][0-9]{{0,2}}\.{TAG_PATTERN}"


def _up_to(high: str, first: int) -> list[str]:
    """Patterns for the numbers up to `high` with as many digits, and a leading digit of at least `first`."""
    head, tail = int(high[0]), high[1:]
    if tail.strip("9") == "":
        return [_digit(first, head) + "[0-9]" * len(tail)]
    below = [_digit(first, head - 1) + "[0-9]" * len(tail)] if first < head else []
    return below + [f"{head}{rest}" for rest in _up_to(tail, 0)]


def _digit(low: int, high: int) -> str:
    return f"[{low}-{high}]" if low < high else str(low)


def nginx_size(size: int) -> str:
    """A number of bytes as nginx writes it: whole mebibytes or kibibytes where it is that, else bytes."""
    for unit, letter in ((1 << 20, "m"), (1 << 10, "k")):
        if size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def _user_directive(settings: Settings) -> str | None:
    """User and group for nginx's processes; None where only root could choose them."""
    if os.geteuid() != 0:
        return None
    owner = owner_of(settings)
    group = owner.gid if owner.group is None else owner.group
    return f"{owner.name} {grp.getgrgid(group).gr_name}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.path("conf")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["conf"] = quoted
    return environment


def quoted(value: object) -> str:
    """A value as one word of nginx's configuration: in quotes where it has white space."""
    text = str(value)
    return f'"{text}"' if re.search(r"\s", text) else text


def write(conf: Path, text: str, nginx: Nginx, errors: Path, *, only_check: bool = False) -> bool:
    """Write the configuration in place of the old one, once nginx has accepted it.

    Args:
        conf: where it is kept.
        text: the new configuration.
        nginx: checks it.
        errors: a file for nginx's first words.
        only_check: leave the old one in place.

    Returns:
        Whether it differs from what was there.

    Raises:
        StickyError: nginx refuses it (the old one stays), or the file cannot be written.
    """
    new = conf.with_name(f".{conf.name}.new")
    try:
        conf.parent.mkdir(parents=True, exist_ok=True)
        changed = not conf.is_file() or conf.read_text(encoding="utf-8") != text
        new.write_text(text, encoding="utf-8")
        nginx.test(new, errors)
        if not only_check:
            new.replace(conf)
    except OSError as error:
        raise StickyError(f"The nginx configuration {conf} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
    return changed
