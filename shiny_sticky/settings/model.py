"""The settings: one typed model, read from a YAML file. Nothing else in the project reads YAML."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shiny_sticky.errors import SettingsError
from shiny_sticky.settings.names import APP_PATTERN, TAG_DIGITS, worker_names

# A unix socket's path has 108 bytes on Linux, one of them for the closing NUL: unix(7), sun_path.
SOCKET_PATH_BYTES = 107

# Where, below its mount, a Shiny app has the files of its HTML dependencies.
SHINY_LIB = "lib/"

# Request headers by which web servers and proxies tell an app who the user is. The first two are what Shiny
# itself reads `session.user` and `session.groups` from.
IDENTITY_HEADERS = (
    "Shiny-Server-Credentials",
    "RStudio-Connect-Credentials",
    "Posit-Connect-User-Session-Token",
    "Remote-User",
    "Remote-Groups",
    "Remote-Email",
    "Remote-Name",
    "X-Remote-User",
    "X-Remote-Group",
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Webauth-User",
)


def _absolute(path: Path, info: ValidationInfo) -> Path:
    """Make a path absolute, starting from the settings file's folder; links are kept as they are."""
    folder = (info.context or {}).get("folder", Path.cwd())
    path = Path(os.path.normpath(folder / path.expanduser()))
    if bad := set(str(path)) & set("\"'$;{}\\\n"):
        raise ValueError(f"the path {path} has characters that nginx's configuration cannot hold: {bad}")
    return path


def _listen_address(value: str) -> str:
    """Check ``host:port``; the host is an IP address, localhost or ``*``.

    Raises:
        ValueError: with what is allowed.
    """
    match = re.fullmatch(r"(\*|localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", value)
    if not match:
        raise ValueError('expected host:port, such as 127.0.0.1:8080, 0.0.0.0:8080 or "[::]:8080"')
    host, port = match[1], int(match[2])
    if host not in ("*", "localhost"):
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            raise ValueError(f"{host} is no IP address") from None
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return value


def _mount_path(value: str) -> str:
    """Check a path that an app is mounted at, and give it with a slash at its end."""
    value = value if value.endswith("/") else value + "/"
    if not re.fullmatch(r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*", value):
        raise ValueError("expected a path such as / or /foo/, of letters, digits and . _ ~ -")
    return value


def _url_path(value: str) -> str:
    """Check the URL path of a file, or of a folder with a slash at its end."""
    if (
        not re.fullmatch(r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*([A-Za-z0-9_~-][A-Za-z0-9._~-]*)?", value)
        or value == "/"
    ):
        raise ValueError("expected a path such as /img/ or /logo.png, of letters, digits and . _ ~ -")
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=True)
    return value


def _size(value: Any) -> Any:
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    raise ValueError("expected a size, such as 100MB or 1GiB")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Network = Annotated[str, AfterValidator(_network)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
AppName = Annotated[str, Field(pattern=f"^{APP_PATTERN}$", max_length=32)]
Strictly = Field(strict=True)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NginxSettings(_Model):
    """The web server in front."""

    conf: AbsolutePath = Field(Path("conf/sticky.conf"), validate_default=True)
    """Where the generated configuration is written."""

    managed: Annotated[bool, Strictly] = True
    """Start, watch and stop nginx. false: the configuration is written, nginx is yours (same as --no-nginx)."""

    binary: str = "nginx"
    """The nginx program: a name to be found in PATH or /usr/sbin, or an absolute path."""

    socket_group: str | None = None
    """A group that may enter run_dir and connect to the workers, for an nginx that runs as somebody else
    (on Debian www-data). null: nobody but the user of the workers."""


class CookieSettings(_Model):
    """The cookie that names a browser's worker."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)] = "sticky"
    """The first app's cookie; a further app's is <name>_<app>."""

    max_age: Annotated[int, Strictly, Field(ge=1)] | None = None
    """Seconds that browsers keep it; null is a session cookie, gone when the browser is closed."""

    same_site: Literal["lax", "strict", "none"] = "lax"
    """Whether other sites' pages send it along (none is for iframes, and needs https)."""

    secure: Literal["auto"] | Annotated[bool, Strictly] = "auto"
    """auto: Secure where the request came by https, also by X-Forwarded-Proto from a trusted proxy."""

    domain: Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")] | None = None
    """The domain it is sent to; null is the very host that set it."""

    @model_validator(mode="after")
    def _attributes_fit(self) -> CookieSettings:
        if self.same_site == "none" and self.secure is False:
            raise ValueError("same_site: none needs secure: auto or true; browsers refuse such a cookie")
        if self.name.startswith(("__Secure-", "__Host-")) and self.secure is not True:
            raise ValueError(f"the name {self.name} needs secure: true; browsers refuse such a cookie")
        if self.name.startswith("__Host-") and self.domain:
            raise ValueError(f"the name {self.name} allows no domain; browsers refuse such a cookie")
        return self


class CacheSettings(_Model):
    """Static files that nginx keeps, as compressed as each browser takes them; ``cache: false`` turns it off."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "boolean"]})

    enabled: Annotated[bool, Strictly] = True
    """Keep Shiny's own files (lib/...) and `paths` in nginx. `cache: false` says the same as enabled: false."""

    paths: list[UrlPath] = Field(default_factory=list)
    """Files of an app's own that are kept too, as browsers ask for them: /img/ (all below it) or /logo.png."""

    max_size: Annotated[ByteSize, BeforeValidator(_size), Field(ge=1 << 20)] = Field(
        "256MB", validate_default=True, json_schema_extra={"type": ["integer", "string"]}
    )
    """Largest size of all that is kept on disk; what has not been asked for longest goes first."""

    max_age: Annotated[int, Strictly, Field(ge=0)] = 604800
    """Seconds that browsers keep Shiny's own files without asking again (their names have a version)."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_on_or_off(cls, value: Any) -> Any:
        return {"enabled": value} if isinstance(value, bool) else value


class DeploySettings(_Model):
    """Replacing workers by new ones, without dropping a session."""

    surge: Annotated[int, Strictly, Field(ge=1, le=256)] = 1
    """Workers that are started anew at a time; each needs its memory twice for a moment."""

    drain_timeout: Annotated[float, Field(ge=0)] = 3600
    """Seconds that the sessions of a replaced worker may go on; then they are closed (1012: restarting)."""


class StopSettings(_Model):
    """Stopping everything."""

    drain_timeout: Annotated[float, Field(ge=0)] = 10
    """Seconds that open sessions and requests get when the launcher is stopped; a second signal ends them."""


class RecycleSettings(_Model):
    """When a worker is replaced for its age or size; its sessions go on, as in a deploy."""

    max_memory: Annotated[ByteSize, BeforeValidator(_size), Field(ge=1)] | None = Field(
        None, json_schema_extra={"type": ["integer", "string", "null"]}
    )
    """Resident memory (RSS), such as 2GB; null is no limit."""

    lifetime: Annotated[float, Field(gt=0)] | None = None
    """Seconds since it was started; null is no limit."""

    max_sessions: Annotated[int, Strictly, Field(ge=1)] | None = None
    """Sessions that it has served in all; null is no limit."""


class AppSettings(_Model):
    """One app and its workers."""

    target: str = Field("app/app.py", validate_default=True)
    """A Shiny file, Core or Express, as `shiny run` takes it; or module:attribute, any ASGI app."""

    path: Annotated[str, AfterValidator(_mount_path)] = "/"
    """Where the app is mounted."""

    workers: Annotated[int, Strictly, Field(ge=1, le=256)] = 4
    """Processes, 1 to 256."""

    python: AbsolutePath | None = None
    """Another interpreter (of a virtual environment of its own); it needs shiny and uvicorn only."""

    env: dict[
        str, Annotated[str, Field(coerce_numbers_to_str=True, json_schema_extra={"type": ["string", "number"]})]
    ] = Field(default_factory=dict)
    """Environment variables for the workers, on top of the launcher's own."""

    preload: Annotated[bool, Strictly] = True
    """Import the app once and fork the workers (on Linux). false: each imports it, where it must not be forked."""

    max_upload: Annotated[ByteSize, BeforeValidator(_size), Field(ge=1)] = Field(
        "100MB", validate_default=True, json_schema_extra={"type": ["integer", "string"]}
    )
    """Largest request body, in bytes or with a unit: 100MB, 1GiB."""

    start_timeout: Annotated[float, Field(gt=0, le=3600)] = 60
    """Seconds a worker may take to answer first."""

    max_sessions: Annotated[int, Strictly, Field(ge=1)] | None = None
    """Sessions that a worker has at a time; a full one hands new ones to the next. null is no limit."""

    hang_timeout: Annotated[float, Field(ge=0)] = 300
    """Seconds without a sign of life from a worker's event loop, after which it is replaced; 0 is never."""

    recycle: RecycleSettings = Field({}, validate_default=True)
    """When a worker is replaced for its age or size; its sessions go on, as in a deploy."""

    @field_validator("python")
    @classmethod
    def _is_interpreter(cls, python: Path | None) -> Path | None:
        if python is None:
            return None
        if python.is_dir():
            python = python / "bin" / "python"
        if not os.access(python, os.X_OK) or python.is_dir():
            raise ValueError(f"{python} is no program; expected an interpreter such as /srv/venv/bin/python")
        return python

    @field_validator("target")
    @classmethod
    def _target_exists(cls, target: str, info: ValidationInfo) -> str:
        file, _, attribute = target.partition(":")
        if file.endswith(".py"):
            path = _absolute(Path(file), info)
            if not path.is_file():
                raise ValueError(f"there is no file {path}")
            return f"{path}:{attribute}" if attribute else str(path)
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", target):
            raise ValueError(
                f"{target!r} is neither a Python file (app.py) nor module:attribute (dashboard.main:app)"
            )
        return target


class Settings(_Model):
    """All settings, with every path absolute."""

    listen: Annotated[
        list[ListenAddress],
        BeforeValidator(_as_list),
        Field(min_length=1, json_schema_extra={"type": ["string", "array"]}),
    ] = Field(["127.0.0.1:8080"])
    """Address that browsers come to: host:port, or a list of them."""

    run_dir: AbsolutePath = Field(Path("run"), validate_default=True)
    """Sockets, pid files and logs; closed to other users."""

    user: str | None = None
    """When started as root: the user that nginx and the workers run as."""

    trusted_proxies: list[Network] = Field(default_factory=list)
    """Proxies in front of this one, as addresses or networks, whose X-Forwarded-* headers are believed."""

    identity_headers: list[HeaderName] = Field(default_factory=list)
    """Request headers by which a trusted proxy names the user; from anyone else they are removed."""

    nginx: NginxSettings = Field({}, validate_default=True)
    """The web server in front."""

    cookie: CookieSettings = Field({}, validate_default=True)
    """The cookie that names a browser's worker."""

    cache: CacheSettings = Field({}, validate_default=True)
    """Static files that nginx keeps; false turns it off."""

    deploy: DeploySettings = Field({}, validate_default=True)
    """Replacing workers by new ones, without dropping a session."""

    stop: StopSettings = Field({}, validate_default=True)
    """Stopping everything."""

    apps: Annotated[dict[AppName, AppSettings], Field(min_length=1)] = Field(
        {"app": {}},
        validate_default=True,
    )
    """The apps by name; the workers of `app` are app1, app2, ..."""

    @model_validator(mode="after")
    def _apps_fit_together(self) -> Settings:
        paths: dict[str, str] = {}
        workers: dict[str, str] = {}
        mistakes = []
        for name, app in self.apps.items():
            if (other := paths.setdefault(app.path, name)) != name:
                mistakes.append(f"apps.{name}.path: {app.path} is also the path of {other}")
            for worker in worker_names(name, app.workers):
                if (other := workers.setdefault(worker, name)) != name:
                    mistakes.append(f"apps.{name}: its worker {worker} is also one of {other}; rename one app")
                    break
                if len(os.fsencode(self.socket_of(worker))) > SOCKET_PATH_BYTES:
                    mistakes.append(
                        f"run_dir: the socket {self.socket_of(worker)} has "
                        f"{len(os.fsencode(self.socket_of(worker)))} bytes, a unix socket's path at most "
                        f"{SOCKET_PATH_BYTES}; set run_dir to a shorter path, such as /tmp/{name}-run"
                    )
                    break
        if self.identity_headers and not self.trusted_proxies:
            mistakes.append("identity_headers: they are taken from trusted_proxies only, and there are none")
        for place, path in enumerate(self.cache.paths):
            if self.app_at(path) is None:
                mistakes.append(f"cache.paths.{place}: no app is mounted above {path}")
            elif path in paths:
                mistakes.append(f"cache.paths.{place}: {path} is all of {paths[path]}; name its static files only")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def app_at(self, path: str) -> str | None:
        """The name of the app that answers for a URL path; None if there is none."""
        above = [(app.path, name) for name, app in self.apps.items() if path.startswith(app.path)]
        return max(above)[1] if above else None

    def cached_paths(self, app: str) -> list[str]:
        """The URL paths of an app's own files that nginx keeps."""
        if not self.cache.enabled:
            return []
        lib = f"{self.apps[app].path}{SHINY_LIB}"  # is kept anyway
        return [path for path in dict.fromkeys(self.cache.paths) if self.app_at(path) == app and path != lib]

    def socket_of(self, worker: str) -> Path:
        """The longest path that a socket of the worker takes: that of an incarnation."""
        return self.run_dir / f"{worker}.{'x' * TAG_DIGITS}.sock"

    def cookie_name(self, app: str) -> str:
        """The name of an app's cookie: the first app's is the configured one, others append theirs."""
        first = next(iter(self.apps))
        return self.cookie.name if app == first else f"{self.cookie.name}_{app}"


def load(file: Path) -> Settings:
    """Read and validate a settings file.

    Args:
        file: the YAML file; paths in it are relative to its folder.

    Raises:
        SettingsError: all mistakes at once, each with file, line, key and what is allowed.
    """
    file = Path(os.path.abspath(file))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError([f"{file}: cannot be read: {reason}"]) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError([_yaml_mistake(file, text, error)]) from None

    lines = _Lines(root)
    mistakes = [f"{file}:{line}: {key}: this key stands twice" for key, line in lines.duplicates]
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError([f"{file}:1: expected keys such as `listen: 127.0.0.1:8080`, got {values!r}"])
    try:
        settings = Settings.model_validate(values, context={"folder": file.parent})
    except ValidationError as error:
        mistakes += [f"{file}:{line}: {text}" for line, text in _mistakes(error, lines)]
        raise SettingsError(mistakes) from None
    if mistakes:
        raise SettingsError(mistakes)
    return settings


class _Lines:
    """Where each key stands in the file, for messages; pydantic knows keys, not lines."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._line: dict[tuple[str, ...], int] = {}
        self.duplicates: list[tuple[str, int]] = []
        if root is not None:
            for path, line in self._walk(root, ()):
                if path in self._line and not path[-1].isdigit():
                    self.duplicates.append((".".join(path), line))
                self._line.setdefault(path, line)

    def _walk(self, node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield (*path, str(key.value)), key.start_mark.line + 1
                yield from self._walk(value, (*path, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                yield (*path, str(index)), value.start_mark.line + 1
                yield from self._walk(value, (*path, str(index)))

    def known(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The path, or as much of it as is in the file."""
        while path and path not in self._line:
            path = path[:-1]
        return path

    def of(self, path: tuple[str, ...]) -> int:
        """The line of a key, or of the nearest key above it that is in the file."""
        return self._line.get(self.known(path), 1)


def _yaml_mistake(file: Path, text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return f"{file}: not valid YAML: {error}"
    number = mark.line + 1
    lines = text.splitlines()
    hint = ""
    for line in lines[max(0, number - 2) : number]:
        if re.search(r"[:-]\s*\[[0-9a-fA-F:]*:[0-9a-fA-F:]*\]", line):
            hint = '; an address in brackets must be quoted: listen: "[::]:8080"'
        elif line.startswith("\t"):
            hint = "; YAML is indented with spaces, not tabs"
    problem = getattr(error, "problem", None) or str(error)
    return f"{file}:{number}: not valid YAML: {problem}{hint}"


def _model_at(path: tuple[str, ...]) -> type[_Model] | None:
    """The model whose keys are allowed at a place in the file."""
    match path:
        case ():
            return Settings
        case ("nginx",):
            return NginxSettings
        case ("cookie",):
            return CookieSettings
        case ("cache",):
            return CacheSettings
        case ("deploy",):
            return DeploySettings
        case ("stop",):
            return StopSettings
        case ("apps", _):
            return AppSettings
        case ("apps", _, "recycle"):
            return RecycleSettings
    return None


def _mistakes(error: ValidationError, lines: _Lines) -> list[tuple[int, str]]:
    """Pydantic's errors as (line, ``key: what is wrong``), in the order of the file."""
    texts: dict[tuple[str, ...], list[str]] = {}
    for mistake in error.errors():
        # Within a union pydantic adds the type that it tried to the place; readers know the keys of the file,
        # and those left at a default that is wrong here.
        whole = tuple(str(part) for part in mistake["loc"])
        place = lines.known(whole)
        while (model := _model_at(place)) and whole[len(place) :][:1] and whole[len(place)] in model.model_fields:
            place = whole[: len(place) + 1]
        texts.setdefault(place, []).extend(_texts(mistake, place))

    found = []
    for place, wrong in texts.items():
        if place:
            found += [(lines.of(place), f"{'.'.join(place)}: {text}") for text in _merged(wrong)]
        else:  # found between keys: such a text begins with the key that it is about
            found += [(lines.of(tuple(text.split(":")[0].split("."))), text) for text in wrong]
    return sorted(found)


def _texts(mistake: Any, place: tuple[str, ...]) -> list[str]:
    """What is wrong, in the words of the settings file."""
    match mistake["type"]:
        case "extra_forbidden":
            model = _model_at(place[:-1])
            keys = list(model.model_fields) if model else []
            close = difflib.get_close_matches(place[-1], keys, n=1)
            guess = f'; did you mean "{close[0]}"?' if close else ";"
            return [f"unknown key{guess} allowed here: {', '.join(keys)}"]
        case "value_error":
            return str(mistake["ctx"]["error"]).splitlines()
        case "string_pattern_mismatch":
            text = f"expected text of the form {mistake['ctx']['pattern']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            text = "expected keys with values below it"
        case "bool_type" | "bool_parsing":
            text = "expected true or false"
        case "int_type":
            text = "expected a whole number"
        case "string_type":
            text = "expected text (in quotes, where it looks like something else)"
        case _:
            text = str(mistake["msg"]).replace("Input should be", "expected")
    got = mistake["input"]
    return [text if isinstance(got, dict | list) else f"{text}, got {got!r}"]


def _merged(texts: list[str]) -> list[str]:
    """One line for a value that fits none of several types: ``expected 'auto' or true or false, got 'x'``."""
    wanted = [text.partition(", got ") for text in texts]
    if len(texts) > 1 and all(text.startswith("expected ") for text in texts):
        allowed = " or ".join(text.removeprefix("expected ") for text, _, _ in wanted)
        return [f"expected {allowed}, got {wanted[0][2]}"]
    return texts
