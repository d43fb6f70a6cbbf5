"""The settings: one typed model of what may stand in the settings file, with each default."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shiny_sticky.settings import isolation_model
from shiny_sticky.settings.front_model import CacheSettings, CookieSettings, NginxSettings, SiteLogSettings
from shiny_sticky.settings.isolation_model import Isolation
from shiny_sticky.settings.names import TAG_DIGITS, seat_names, worker_names
from shiny_sticky.settings.notices_model import NoticeSettings
from shiny_sticky.settings.process_model import LimitSettings, RecycleSettings
from shiny_sticky.settings.reconnect_model import Reconnect
from shiny_sticky.settings.section import Section
from shiny_sticky.settings.values import (
    AbsolutePath,
    AppName,
    FrameSource,
    HeaderName,
    ListenAddress,
    Network,
    Origin,
    Size,
    SizeSchema,
    Strictly,
    UploadPath,
    absolute,
    as_list,
    closed_folder,
    cookies_that_browsers_refuse,
    mount_path,
)
from shiny_sticky.settings.workers import Workers

# A unix socket's path has 108 bytes on Linux, one of them for the closing NUL: unix(7), sun_path.
SOCKET_PATH_BYTES = 107

# Where, below its mount, a Shiny app has the files of its HTML dependencies.
SHINY_LIB = "lib/"


class DeploySettings(Section):
    """Replacing workers by new ones, without dropping a session."""

    surge: Annotated[int, Strictly, Field(ge=1, le=256)] = 1
    """Workers that are started anew at a time; each needs its memory twice for a moment."""

    drain_timeout: Annotated[float, Field(ge=0)] = 3600
    """Seconds that the sessions of a replaced worker may go on; then they are closed (1012: restarting)."""


class StopSettings(Section):
    """Stopping everything."""

    drain_timeout: Annotated[float, Field(ge=0)] = 10
    """Seconds that open sessions and requests get when the launcher is stopped; a second signal ends them. After
    Ctrl-C on a terminal they get 2 at most."""


class ResumeSettings(Section):
    """Sessions that outlive their connection to the page."""

    timeout: Annotated[float, Field(ge=0)] = 300
    """Seconds that a session waits for its page after their connection was lost; 0: none does."""

    buffer: Annotated[Size, Field(ge=1 << 16), SizeSchema] = Field("4MB", validate_default=True)
    """Largest size of what is kept for a page meanwhile; a session with more to say ends."""

    max_suspended: Annotated[int, Strictly, Field(ge=1)] = 1000
    """Sessions of a worker that wait at a time; beyond, the one that has waited longest ends."""


class AppSettings(Section):
    """One app and its workers."""

    target: str = Field("app/app.py", validate_default=True)
    """A Shiny file, Core or Express, as `shiny run` takes it; or module:attribute, any ASGI app."""

    path: Annotated[str, AfterValidator(mount_path)] = "/"
    """Where the app is mounted."""

    isolation: Isolation = "shared"
    """Whether sessions share processes; session: each has one of its own, which ends with it."""

    workers: Workers = Field(4, validate_default=True)
    """Processes: a number, 1 to 256; or as many as are needed of {min: 1, max: 64}; or auto, of one a core to as
    many as there is memory for."""

    sessions_per_worker: Annotated[int, Strictly, Field(ge=1)] = 8
    """Sessions from which on another worker is started, if there may be more."""

    spare: Annotated[int, Strictly, Field(ge=0, le=256)] = 1
    """Workers more than the sessions need, so that nobody waits for one to start."""

    python: AbsolutePath | None = None
    """Another interpreter (of a virtual environment of its own); it needs shiny and uvicorn only."""

    env: dict[
        str, Annotated[str, Field(coerce_numbers_to_str=True, json_schema_extra={"type": ["string", "number"]})]
    ] = Field(default_factory=dict)
    """Environment variables for the workers, on top of the launcher's own; with `user`, on top of PATH, language,
    time zone, and that user's HOME, USER and LOGNAME."""

    preload: Annotated[bool, Strictly] = True
    """Import the app once and fork the workers (on Linux). false: each imports it, where it must not be forked."""

    max_upload: Annotated[Size, Field(ge=1), SizeSchema] = Field("100MB", validate_default=True)
    """Largest upload, in bytes or with a unit: 100MB (of 1024 KB, as in nginx), 1GB."""

    uploads: list[UploadPath] = Field(default_factory=list)
    """Paths besides Shiny's file inputs that take bodies of more than 1 MB: /api/in/ (all below it), /import."""

    start_timeout: Annotated[float, Field(gt=0, le=3600)] = 60
    """Seconds a worker may take to answer first."""

    max_sessions: Annotated[int, Strictly, Field(ge=1)] | None = None
    """Sessions that a worker has at a time. A full one hands new ones to the next; when all are, visitors wait in
    line. null is no limit."""

    idle_timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds without a session or a request, after which the app sleeps: it has no process until the next request
    wakes it, and begins like that. null: it never sleeps."""

    empty_flushes: Annotated[bool, Strictly] = False
    """Send each Shiny page all that Shiny sends, also what says nothing: that other sessions have changed."""

    compress_messages: Annotated[Size, Field(ge=0), SizeSchema] | None = Field("1KB", validate_default=True)
    """Smallest message that a websocket compresses, such as 1KB; 0 is all, null none."""

    notices: NoticeSettings = Field({}, validate_default=True)
    """What pages say of their connection and session; false turns it off."""

    reconnect: Reconnect = "ask"
    """What a page does whose process is gone. inputs: it begins a new session with its inputs by itself; ask: when
    its visitor says so; off: it stays grey, as Shiny leaves it."""

    hang_timeout: Annotated[float, Field(ge=0)] = 300
    """Seconds without a sign of life from a worker's event loop, after which it is replaced; 0 is never."""

    recycle: RecycleSettings = Field({}, validate_default=True)
    """When a worker is replaced for its age or size; its sessions go on, as in a deploy."""

    limits: LimitSettings = Field({}, validate_default=True)
    """What a worker may take, with the programs that it starts."""

    _isolated_defaults = model_validator(mode="before")(isolation_model.with_defaults)

    @property
    def isolated(self) -> bool:
        """Whether each session has a process of its own."""
        return self.isolation == "session"

    @field_validator("python")
    @classmethod
    def _is_interpreter(cls, python: Path | None) -> Path | None:
        if python is None:
            return None
        if closed := closed_folder(python):
            raise ValueError(
                f"{python} cannot be reached: {closed} may not be entered (chmod o+x, or another place)"
            )
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
            path = absolute(Path(file), info)
            if not path.is_file():
                raise ValueError(f"there is no file {path}")
            return f"{path}:{attribute}" if attribute else str(path)
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", target):
            raise ValueError(
                f"{target!r} is neither a Python file (app.py) nor module:attribute (dashboard.main:app)"
            )
        return target

    def working_folder(self, folder: Path) -> Path:
        """The folder that the app runs in: a file's own, as on other Shiny hosts; else the settings file's.

        Args:
            folder: the settings file's.
        """
        file = Path(self.target.partition(":")[0])
        return file.parent if file.suffix == ".py" else folder


class Settings(Section):
    """All settings, with every path absolute."""

    listen: Annotated[
        list[ListenAddress],
        BeforeValidator(as_list),
        Field(min_length=1, json_schema_extra={"type": ["string", "integer", "array"]}),
    ] = Field(["127.0.0.1:8080"])
    """Address that browsers come to: host:port, or a list of them; a port alone is one of 127.0.0.1."""

    run_dir: AbsolutePath = Field(Path("run"), validate_default=True)
    """Sockets, pid files and logs; closed to other users."""

    log: SiteLogSettings = Field({}, validate_default=True)
    """What the launcher and the workers print, in run_dir: site.log; and workers.log while no launcher is there."""

    user: str | None = None
    """When started as root: the user that nginx and the workers run as."""

    trusted_proxies: list[Network] = Field(default_factory=list)
    """Proxies in front of this one, as addresses or networks, whose X-Forwarded-* headers are believed."""

    identity_headers: list[HeaderName] = Field(default_factory=list)
    """Request headers by which a trusted proxy names the user; from anyone else they are removed."""

    allowed_origins: list[Origin] = Field(default_factory=list)
    """Other sites whose pages may open websockets here, as browsers name them: https://portal.example."""

    frame_ancestors: Literal["self", "any"] | list[FrameSource] = "self"
    """Whose pages may show the apps in an iframe: self, any, or other sites by name (https://portal.example)."""

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

    resume: ResumeSettings = Field({}, validate_default=True)
    """Sessions that outlive their connection to the page."""

    apps: Annotated[dict[AppName, AppSettings], Field(min_length=1)] = Field(
        {"app": {}},
        validate_default=True,
    )
    """The apps by name; the workers of `app` are app1, app2, ..."""

    @model_validator(mode="after")
    def _apps_fit_together(self) -> Settings:
        mistakes = [
            *self._paths_that_clash(),
            *self._workers_that_clash(),
            *(mistake for name, app in self.apps.items() for mistake in isolation_model.mistakes(name, app)),
            *self._sockets_that_are_too_long(),
            *self._identity_of_nobody(),
            *cookies_that_browsers_refuse(self.cookie.name, [app.path for app in self.apps.values()]),
            *self._cached_paths_that_will_not_do(),
            *self._uploads_that_go_elsewhere(),
        ]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _paths_that_clash(self) -> Iterator[str]:
        apps: dict[str, str] = {}
        for name, app in self.apps.items():
            if (other := apps.setdefault(app.path, name)) != name:
                yield f"apps.{name}.path: {app.path} is also the path of {other}"

    def _workers_that_clash(self) -> Iterator[str]:
        apps: dict[str, str] = {}
        for name, app in self.apps.items():
            taken = [
                worker for worker in worker_names(name, app.workers.max) if apps.setdefault(worker, name) != name
            ]
            if taken:
                yield f"apps.{name}: its worker {taken[0]} is also one of {apps[taken[0]]}; rename one app"

    def _sockets_that_are_too_long(self) -> Iterator[str]:
        for name in self.apps:
            path = self.longest_socket_path(name)
            if (length := len(os.fsencode(path))) > SOCKET_PATH_BYTES:
                yield (
                    f"run_dir: the socket {path} has {length} bytes, a unix socket's path at most "
                    f"{SOCKET_PATH_BYTES}; set run_dir to a shorter path, such as /tmp/{name}-run"
                )

    def _identity_of_nobody(self) -> Iterator[str]:
        if self.identity_headers and not self.trusted_proxies:
            yield "identity_headers: they are taken from trusted_proxies only, and there are none"

    def _uploads_that_go_elsewhere(self) -> Iterator[str]:
        for name, app in self.apps.items():
            for place, path in enumerate(app.uploads):
                if not path.startswith(app.path):
                    yield f"apps.{name}.uploads.{place}: {path} is not below the app's path, {app.path}"

    def _cached_paths_that_will_not_do(self) -> Iterator[str]:
        mounts = {app.path: name for name, app in self.apps.items()}
        for place, path in enumerate(self.cache.paths):
            if self.app_at(path) is None:
                yield f"cache.paths.{place}: no app is mounted above {path}"
            elif (mount := path.removesuffix("?")) in mounts:
                yield f"cache.paths.{place}: {path} is all of {mounts[mount]}; name its static files only"

    def app_at(self, path: str) -> str | None:
        """The name of the app that answers for a URL path; None if there is none."""
        above = [(app.path, name) for name, app in self.apps.items() if path.startswith(app.path)]
        return max(above)[1] if above else None

    def cached_paths(self, app: str) -> list[str]:
        """The URL paths of an app's own files that nginx keeps; with ? at the end of those whose query counts."""
        if not self.cache.enabled:
            return []
        lib = f"{self.apps[app].path}{SHINY_LIB}"  # is kept anyway
        return [path for path in dict.fromkeys(self.cache.paths) if self.app_at(path) == app and path != lib]

    def longest_socket_path(self, app: str) -> Path:
        """The longest path of a socket that a process of the app may listen on, or of a link to one."""
        most = self.apps[app].workers.max
        names = f"{worker_names(app, most)[-1]}.{'x' * TAG_DIGITS}", f"sessions/{seat_names(app, most)[-1]}"
        return self.run_dir / f"{max(names, key=len)}.sock"

    def base_url(self) -> str:
        """The URL by which a browser on this machine reaches the first address; apps' paths follow."""
        host, _, port = self.listen[0].rpartition(":")
        here = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        return f"http://{here}" + ("" if port == "80" else f":{port}")

    def cookie_name(self, app: str) -> str:
        """The name of an app's cookie: the first app's is the configured one, others append theirs."""
        first = next(iter(self.apps))
        return self.cookie.name if app == first else f"{self.cookie.name}_{app}"
