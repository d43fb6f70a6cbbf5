"""What the settings say of the web server: nginx, its cookie, its cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from shiny_sticky.settings.section import Section
from shiny_sticky.settings.values import AbsolutePath, CachedPath, Size, SizeSchema, Strictly


class LogSettings(Section):
    """nginx's access log and error log, in run_dir, if the launcher runs nginx."""

    max_size: Annotated[Size, Field(ge=1), SizeSchema] | None = Field("100MB", validate_default=True)
    """Size at which a log is rotated; null leaves that to others (logrotate)."""

    keep: Annotated[int, Strictly, Field(ge=0, le=1000)] = 3
    """Rotated ones that are kept of each: nginx-access.log.1 is the youngest."""


class SiteLogSettings(LogSettings):
    """What the launcher and the workers print, in run_dir: site.log; and workers.log while no launcher is there."""

    max_size: Annotated[Size, Field(ge=1), SizeSchema] | None = Field("10MB", validate_default=True)
    """Size at which a log is rotated; null is never."""

    keep: Annotated[int, Strictly, Field(ge=0, le=1000)] = 3
    """Rotated ones that are kept of each: site.log.1 is the youngest."""


class NginxSettings(Section):
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

    log: LogSettings = Field({}, validate_default=True)
    """nginx's access log and error log, in run_dir, if the launcher runs nginx."""


class CookieSettings(Section):
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


class CacheSettings(Section):
    """Static files that nginx keeps, as compressed as each browser takes them; ``cache: false`` turns it off."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "boolean"]})

    enabled: Annotated[bool, Strictly] = True
    """Keep Shiny's own files (lib/...) and `paths` in nginx. `cache: false` says the same as enabled: false."""

    paths: list[CachedPath] = Field(default_factory=list)
    """Files of an app's own that are kept too, as browsers ask for them: /img/ (all below it) or /logo.png.
    What is asked for with a query is kept only where a ? ends the path, then once for each: /tiles/?"""

    max_size: Annotated[Size, Field(ge=1 << 20), SizeSchema] = Field("256MB", validate_default=True)
    """Largest size of all that is kept on disk; what has not been asked for longest goes first."""

    max_age: Annotated[int, Strictly, Field(ge=0)] = 604800
    """Seconds that browsers keep Shiny's own files without asking again (their names have a version)."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_on_or_off(cls, value: Any) -> Any:
        return {"enabled": value} if isinstance(value, bool) else value
