"""The values that settings may have beyond plain text and numbers: paths, addresses, sizes, names."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from shiny_sticky.settings.names import APP_PATTERN

# What is smaller was meant to have a unit: nothing here is measured in bytes.
SMALLEST_SIZE = 1 << 10

SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def absolute(path: Path, info: ValidationInfo) -> Path:
    """Make a path absolute, starting from the settings file's folder; links are kept as they are."""
    folder = (info.context or {}).get("folder", Path.cwd())
    path = Path(os.path.normpath(folder / path.expanduser()))
    if bad := set(str(path)) & set("\"'$;{}\\\n"):
        raise ValueError(f"the path {path} has characters that nginx's configuration cannot hold: {bad}")
    return path


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to a path that this process may not enter; None if there is no such."""
    return next((step for step in reversed(path.parents) if step.is_dir() and not os.access(step, os.X_OK)), None)


def _bare_port(value: Any) -> Any:
    """Take a port alone for one of this machine's own: 8080, "8080", ":8080" are 127.0.0.1:8080."""
    port = str(value).removeprefix(":")
    return f"127.0.0.1:{port}" if isinstance(value, int | str) and re.fullmatch("[0-9]{1,5}", port) else value


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


def mount_path(value: str) -> str:
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


def _cached_path(value: str) -> str:
    """Check the URL path of a file or folder, which may end in a question mark: kept once for each query."""
    _url_path(value.removesuffix("?"))
    return value


def _upload_path(value: str) -> str:
    """Check the URL path of what takes uploads; / is everything."""
    return value if value == "/" else _url_path(value)


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=True)
    return value


def _size(value: Any) -> int:
    """Read a number of bytes as nginx does, for which 1 MB is 1,048,576 of them (1 MiB).

    Raises:
        ValueError: with what is allowed.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(?:I?B)?", str(value).upper())
    if not match or not isinstance(value, int | str):
        raise ValueError(f"expected a size, such as 100MB or 1GB, got {value!r}")
    size = int(float(match[1]) * SIZE_UNITS[match[2]])
    if 0 < size < SMALLEST_SIZE:
        raise ValueError(f"{value} is {size} bytes; did you mean {match[1]}MB?")
    return size


def size_in_words(size: int) -> str:
    """A number of bytes as people write it, and as the settings take it: 1 GB, 1.5 GB, 512 MB."""
    for unit in ("T", "G", "M", "K"):
        if size >= SIZE_UNITS[unit]:
            return f"{round(size / SIZE_UNITS[unit], 2):g} {unit}B"
    return f"{size} bytes"


def as_list(value: Any) -> Any:
    """Take one value for a list of one."""
    return value if isinstance(value, list) else [value]


def cookies_that_browsers_refuse(name: str, paths: list[str]) -> Iterator[str]:
    """What is wrong with a cookie's name, if its prefix does not go with where the apps are mounted.

    Args:
        name: of the cookie; a browser takes one that begins with ``__Host-`` for the path / alone.
        paths: of the apps.
    """
    below = [path for path in paths if path != "/"]
    if name.startswith("__Host-") and below:
        yield (
            f"cookie.name: {name} allows no path but /, and an app is mounted at {below[0]}; browsers refuse such "
            f"a cookie. Call it {name.replace('__Host-', '__Secure-', 1)}"
        )


AbsolutePath = Annotated[Path, AfterValidator(absolute)]
ListenAddress = Annotated[
    str,
    BeforeValidator(_bare_port),
    AfterValidator(_listen_address),
    WithJsonSchema({"type": ["string", "integer"]}),
]
CachedPath = Annotated[str, AfterValidator(_cached_path)]
UploadPath = Annotated[str, AfterValidator(_upload_path)]
Network = Annotated[str, AfterValidator(_network)]
Origin = Annotated[str, Field(pattern=r"^(null|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?)$")]
FrameSource = Annotated[str, Field(pattern=r"^https?://(\*\.)?[A-Za-z0-9._-]+(:([0-9]{1,5}|\*))?$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
AppName = Annotated[str, Field(pattern=f"^{APP_PATTERN}$", max_length=32)]
Size = Annotated[int, BeforeValidator(_size)]
SizeSchema = WithJsonSchema({"type": ["integer", "string"], "pattern": "^[0-9.]+ ?[KMGTkmgt]?([Ii]?[Bb])?$"})
Strictly = Field(strict=True)
