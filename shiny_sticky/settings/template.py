"""A settings file with every key, for a person to change."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from shiny_sticky.settings.mistakes import model_at

HEAD = """\
# Every setting stands here. Lines that begin with "# key:" have the default: take "# " away, there and before the
# key that it is below, to change it. Paths are relative to this file.
"""
WIDTH = 110


def text(given: Mapping[str, Any]) -> str:
    """Write a settings file.

    Args:
        given: what is not left at its default, as the file has it.
    """
    return HEAD + "\n".join(_lines((), given)) + "\n"


def _lines(place: tuple[str, ...], given: Mapping[str, Any] | None) -> Iterator[str]:
    """The lines of what may stand at a place; given is None where all of it is left at its defaults."""
    model = model_at(place)
    assert model is not None
    indent = "  " * len(place)
    for key, field in model.model_fields.items():
        below = (*place, key)
        its = None if given is None else given.get(key)
        yield from ([""] if not place else [])
        for line in textwrap.wrap(field.description or "", WIDTH - len(indent)):
            yield f"{indent}# {line}"
        off = "# " if its is None else ""
        if model_at(below):
            yield f"{off}{indent}{key}:"
            yield from _lines(below, its)
        elif model_at((*below, "<name>")):
            yield f"{off}{indent}{key}:"
            for name, each in (its or {}).items():
                yield f"{indent}  {name}:"
                yield from _lines((*below, name), each)
        else:
            value = field.get_default(call_default_factory=True) if its is None else its
            yield f"{off}{indent}{key}: {_value(value)}"


def _value(value: Any) -> str:
    """A value as YAML has it, on one line."""
    plain = value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)
    dumped = yaml.safe_dump(plain, default_flow_style=True, width=1000, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")
