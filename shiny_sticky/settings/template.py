"""A settings file with every key, for a person to change."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from shiny_sticky.settings.mistakes import model_at

HEAD = """\
# Every setting stands here, what has its default as a comment. To change one, take away the "# " before it, and
# before the keys that it is below. Paths are relative to this file.
"""
WIDTH = 110


def text(given: Mapping[str, Any]) -> str:
    """Write a settings file.

    Args:
        given: what is not left at its default, as the file has it.
    """
    return HEAD + "\n".join(_lines((), given)) + "\n"


def _lines(place: tuple[str, ...], given: Mapping[str, Any] | None) -> Iterator[str]:
    """The lines of what may stand at a place; given is None within what is a comment as a whole."""
    model = model_at(place)
    assert model is not None
    indent = "  " * len(place)
    for key, field in model.model_fields.items():
        its = None if given is None else given.get(key)
        if not place:
            yield ""
        for line in textwrap.wrap(field.description or "", WIDTH - len(indent)):
            yield f"{indent}# {line}"
        mark = f"{indent}# " if its is None and given is not None else indent
        for line in _setting((*place, key), field.get_default(call_default_factory=True), its):
            yield mark + line[len(indent) :]


def _setting(place: tuple[str, ...], default: Any, given: Any) -> list[str]:
    """The lines of a key: with its value, or with what is below it."""
    below = list(_lines_below(place, given))
    value = "" if below else " " + _value(default if given is None else given)
    return [f"{'  ' * (len(place) - 1)}{place[-1]}:{value}", *below]


def _lines_below(place: tuple[str, ...], given: Mapping[str, Any] | None) -> Iterator[str]:
    """The lines below a key; none if a value stands there."""
    if model_at(place):
        yield from _lines(place, given)
    elif model_at((*place, "<name>")):
        for name, its in (given or {}).items():
            yield f"{'  ' * len(place)}{name}:"
            yield from _lines((*place, name), its)


def _value(value: Any) -> str:
    """A value as YAML has it, on one line."""
    plain = value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)
    dumped = yaml.safe_dump(plain, default_flow_style=True, width=1000, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")
