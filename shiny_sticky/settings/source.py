"""Where settings come from: a file, or an app that is named on the command line and needs none."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shiny_sticky import program
from shiny_sticky.errors import SettingsError, StickyError
from shiny_sticky.settings.mistakes import Lines, validation_mistakes
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.read import load

# The settings file that is read when none is named, and the app that is served where there is neither.
SETTINGS_FILE = Path("config.yaml")
APP_FILE = Path("app.py")


@dataclass(frozen=True)
class Source:
    """Settings that can be read again at each deploy.

    Attributes:
        name: what to call them in a message: the file as it was given, or the app.
        folder: where relative paths begin, and module:attribute targets are looked up.
        notice: the first line of the nginx configuration that is written from them, without its ``#``.
        load: reads and validates them; raises SettingsError.
        file: the settings file; None if there is none.
    """

    name: str
    folder: Path
    notice: str
    load: Callable[[], Settings]
    file: Path | None = None


@dataclass(frozen=True)
class AppOptions:
    """An app that is served without a settings file.

    Attributes:
        target: a Shiny file or module:attribute, as in the settings.
        workers: how many; None is the default.
        host: an address of this machine, without brackets; None is the default.
        port: None is the default.
        python: the interpreter or virtual environment that serves it; None is the launcher's own.
    """

    target: str
    workers: int | None = None
    host: str | None = None
    port: int | None = None
    python: str | None = None

    def values(self) -> dict[str, Any]:
        """What a settings file would say, as far as it differs from the defaults."""
        app: dict[str, Any] = {"target": self.target}
        if self.workers is not None:
            app["workers"] = self.workers
        if self.python is not None:
            app["python"] = self.python
        found: dict[str, Any] = {"apps": {"app": app}}
        if self.host is not None or self.port is not None:
            found = {"listen": f"{_bracketed(self.host or '127.0.0.1')}:{self.port or 8080}", **found}
        return found


def file_source(file: Path) -> Source:
    """Settings of a file."""
    whole = file.absolute()
    return Source(
        name=str(file),
        folder=whole.parent,
        notice=f"Written by shiny-sticky from {whole}. Change that file, not this one.",
        load=lambda: load(whole),
        file=whole,
    )


def app_source(options: AppOptions, folder: Path) -> Source:
    """Settings of an app that is named on the command line: the defaults, but for its options.

    Args:
        options: the app's.
        folder: where relative paths begin, run_dir's among them.
    """

    def validated() -> Settings:
        try:
            return Settings.model_validate(options.values(), context={"folder": folder})
        except ValidationError as error:
            as_file = Lines(yaml.compose(yaml.safe_dump(options.values()), Loader=yaml.SafeLoader))
            raise SettingsError([_option(text) for _, text in validation_mistakes(error, as_file)]) from None

    return Source(
        name=options.target,
        folder=folder,
        notice=f"Written by shiny-sticky for {options.target}, and anew at each start and deploy.",
        load=validated,
    )


def default_target(folder: Path) -> str:
    """What is served when nothing is named: the settings file or the app of the usual name.

    Args:
        folder: the current one.

    Raises:
        StickyError: there is nothing of the kind.
    """
    for file in (SETTINGS_FILE, APP_FILE):
        if file.exists():
            return str(file)
    raise StickyError(
        f"There is neither {SETTINGS_FILE} nor {APP_FILE} in {folder}. Name a settings file (.yaml), or an app "
        f"(app.py, module:app): {program.name()} path/to/app.py"
    )


def run_dir_of(file: Path | None, folder: Path) -> Path:
    """The folder of a running site.

    Args:
        file: its settings file; None is config.yaml, or else that of an app which was started without one.
        folder: the current one.

    Raises:
        SettingsError: a mistake in the file.
    """
    if file is None and not SETTINGS_FILE.exists():
        return folder / str(Settings.model_fields["run_dir"].default)
    return load(file or SETTINGS_FILE).run_dir


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def _option(text: str) -> str:
    """A mistake, with the name of the option in place of the key's in a settings file."""
    names = {
        "apps.app.target: ": "",
        "apps.app.workers: ": "--workers: ",
        "apps.app.python: ": "--python: ",
        "listen: ": "--host, --port: ",
    }
    for key, option in names.items():
        if text.startswith(key):
            return option + text.removeprefix(key)
    return text
