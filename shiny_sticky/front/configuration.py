"""nginx's configuration: rendered from the settings, tested by nginx, put in place of the old one."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jinja2

from shiny_sticky import processes, resources
from shiny_sticky.errors import StickyError
from shiny_sticky.front import cookie, identity, patterns
from shiny_sticky.front.nginx_program import Nginx
from shiny_sticky.front.patterns import ACCEPTED, incarnations_pattern, numbers_pattern
from shiny_sticky.settings.model import SHINY_LIB, AppSettings, Settings
from shiny_sticky.settings.names import seat_names, worker_names
from shiny_sticky.settings.users import owner_of

# Of what is compressed for each request anew.
GZIP_LEVEL = 1

# The page that says that no worker can be reached, in run_dir: nginx's processes may read that folder.
UNAVAILABLE_PAGE = "unavailable.html"


def render(
    settings: Settings, nginx: Nginx, notice: str, *, snippet: bool = False, not_shiny: Collection[str] = ()
) -> str:
    """Write the nginx configuration.

    Args:
        settings: what to serve.
        nginx: the program that it is for.
        notice: the first line, which says where it comes from.
        snippet: only what belongs into an existing ``http {}``.
        not_shiny: apps that are known not to be Shiny's: what is below their lib/ is their own.

    Raises:
        StickyError: a setting needs what this nginx lacks.
    """
    if settings.trusted_proxies and not nginx.has_realip:
        raise StickyError(f"trusted_proxies needs nginx's realip module; {nginx.path} is compiled without it.")
    template = _environment().get_template("snippet.conf.j2" if snippet else "sticky.conf.j2")
    text = template.render(
        notice=notice,
        conf=settings.nginx.conf,
        njs_module=nginx.njs_module,
        njs_script=resources.path("njs/sticky.js"),
        unavailable_page=settings.run_dir / UNAVAILABLE_PAGE,
        other_upstreams=nginx.other_upstreams,
        keeps_connections=nginx.keeps_connections,
        user=_user_directive(settings),
        run_dir=settings.run_dir,
        open_files=processes.open_files_limit(),
        listen=settings.listen,
        secure_auto=settings.cookie.secure == "auto",
        **_forwarded(settings),
        gzip_level=GZIP_LEVEL,
        cache=_cache(settings),
        apps=[_app(settings, name, app, name not in not_shiny) for name, app in settings.apps.items()],
    )
    return re.sub(r"\n{3,}", "\n\n", text).lstrip("\n").rstrip() + "\n"


def _forwarded(settings: Settings) -> dict[str, Any]:
    """What the template needs to know of headers that proxies in front have set, or somebody else."""
    trusted = bool(settings.trusted_proxies)
    return {
        "trusted_proxies": settings.trusted_proxies,
        "proto": "$sticky_proto" if trusted else "$scheme",
        "host": "$sticky_host" if trusted else "$http_host",
        "allowed_origins": settings.allowed_origins,
        "stripped_headers": identity.stripped(settings.identity_headers),
        "identity_headers": [(name, name.lower().replace("-", "_")) for name in settings.identity_headers],
    }


def _cache(settings: Settings) -> dict[str, Any] | None:
    """What the template needs to know of the cache; None if there is none."""
    if not settings.cache.enabled:
        return None
    return {"max_size": nginx_size(settings.cache.max_size), "accepted": ACCEPTED}


def _app(settings: Settings, name: str, app: AppSettings, may_be_shiny: bool) -> dict[str, Any]:
    """What the template needs to know of an app."""
    return {
        "name": name,
        "path": app.path,
        "workers": str(app.workers),
        "names": name + numbers_pattern(app.workers.max),
        "incarnations": incarnations_pattern(name, list(settings.apps)),
        "names_list": worker_names(name, app.workers.max),
        "seats": seat_names(name, app.workers.max),
        "cookie": settings.cookie_name(name),
        "uploads": patterns.paths(app.uploads),
        "cached": _cached(settings, name, may_be_shiny),
        "attributes": cookie.attributes(settings, app.path),
        "max_upload": nginx_size(app.max_upload),
        "waits": app.max_sessions is not None,
        # A seat and a worker take well under 1 KB each of the zone; the rest is nginx's own bookkeeping.
        "zone": f"{64 + 2 * app.workers.max}k",
    }


def _cached(settings: Settings, name: str, may_be_shiny: bool) -> str:
    """A regular expression that matches the URLs of an app's files that may be kept; empty if none may.

    Whether an app is Shiny's is known once it is imported. A Shiny app may have other files below lib/, so only
    what looks like the folder of an HTML dependency (bootstrap-5.3.8) is taken for one.
    """
    if not settings.cache.enabled:
        return ""
    named = dict.fromkeys(path.removesuffix("?") for path in settings.cached_paths(name))
    return patterns.paths(list(named), f"{settings.apps[name].path}{SHINY_LIB}" if may_be_shiny else "")


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
    group = owner.gid if owner.socket_group is None else owner.socket_group
    return f"{owner.name} {grp.getgrgid(group).gr_name}"


@functools.cache
def _environment() -> jinja2.Environment:
    """The templates, which are compiled once; one that has changed is read again."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.path("conf")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["conf"] = quoted
    environment.filters["regex"] = re.escape
    return environment


def quoted(value: object) -> str:
    """A value as one word of nginx's configuration: in quotes where it has white space."""
    text = str(value)
    return f'"{text}"' if re.search(r"\s", text) else text


def check(settings: Settings, text: str, nginx: Nginx) -> None:
    """Let nginx test a configuration, which stays as it is on disk.

    nginx takes a moment for that: call it in a thread where others wait.

    Args:
        settings: say where the configuration is kept.
        text: the new one.
        nginx: tests it.

    Raises:
        StickyError: nginx refuses it, or no file can be written there.
    """
    new = _tested(settings, text, nginx)
    with contextlib.suppress(OSError):
        new.unlink()


def install(settings: Settings, text: str, nginx: Nginx) -> bool:
    """Put a configuration in place of the old one, once nginx has accepted it, and the page that it shows.

    Args:
        settings: say where these are kept.
        text: the new configuration.
        nginx: tests it; for that it may take a moment.

    Returns:
        Whether the configuration differs from what was there.

    Raises:
        StickyError: nginx refuses it (the old one stays), or a file cannot be written.
    """
    conf = settings.nginx.conf
    page = resources.path("conf/unavailable.html").read_text(encoding="utf-8")
    new = _tested(settings, text, nginx)
    try:
        _replace(settings.run_dir / UNAVAILABLE_PAGE, page)
        changed = not conf.is_file() or conf.read_text(encoding="utf-8") != text
        new.replace(conf)
    except OSError as error:
        raise _cannot_be_written(conf, error) from None
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
    return changed


def _tested(settings: Settings, text: str, nginx: Nginx) -> Path:
    """A file beside the configuration, with a text that nginx accepts.

    Raises:
        StickyError: it does not (and there is no such file), or it cannot be written.
    """
    conf = settings.nginx.conf
    new = conf.with_name(f".{conf.name}.new")
    try:
        conf.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        nginx.test(new, settings.run_dir / "nginx-error.log")
    except (OSError, StickyError) as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise _cannot_be_written(conf, error) if isinstance(error, OSError) else error from None
    return new


def _replace(file: Path, text: str) -> None:
    """Write a file that nginx's processes may read, unless it is there already; it is never seen half-written."""
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(file)


def _cannot_be_written(conf: Path, error: OSError) -> StickyError:
    return StickyError(f"The nginx configuration {conf} cannot be written: {error.strerror}")
