"""What the settings say of how sessions share processes: several in one, or each in one of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from shiny_sticky.settings.model import AppSettings

Isolation = Literal["shared", "session"]

# What cannot be otherwise where each session has a process of its own.
ONE_SESSION = {"sessions_per_worker": 1, "max_sessions": 1}

# What is so then unless the settings say otherwise. Two spare workers: while one is forked for the next visitor,
# another one is there for the visitor after.
DEFAULTS: dict[str, Any] = {**ONE_SESSION, "spare": 2}


def with_defaults(app: Any) -> Any:
    """The settings of an app as they are read, with the defaults that its isolation brings.

    Args:
        app: what stands in the file, of whatever type.
    """
    if isinstance(app, Mapping) and app.get("isolation") == "session":
        return {**DEFAULTS, **app}
    return app


def mistakes(name: str, app: AppSettings) -> Iterator[str]:
    """What of an app's settings does not go with its isolation.

    Args:
        name: the app's.
        app: its settings.

    Yields:
        The key, and what is wrong.
    """
    if app.isolated:
        for key, only in ONE_SESSION.items():
            if (value := getattr(app, key)) != only:
                said = "null" if value is None else value
                yield f"apps.{name}.{key}: with isolation: session it is {only}, not {said}; leave it out"
