"""What is wrong with a settings file, in the words of the file: the line, the key, and what is allowed there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from shiny_sticky.settings.model import AppSettings, Settings
from shiny_sticky.settings.names import APP_PATTERN

# By the type of pydantic's error; of all others its own text is shown.
EXPECTED = {
    "model_type": "expected keys with values below it",
    "model_attributes_type": "expected keys with values below it",
    "dict_type": "expected keys with values below it",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "string_type": "expected text (in quotes, where it looks like something else)",
}

# What is said in place of a regular expression.
PATTERNS = {f"^{APP_PATTERN}$": "an app's name: a small letter, then small letters, digits and _"}

# Keys of earlier versions, by their last two parts.
RENAMED: dict[tuple[str, ...], str] = {("recycle", "max_sessions"): "sessions_served"}


class Lines:
    """Where each key stands in the file: pydantic knows keys, not lines.

    Args:
        root: the file, as YAML's nodes; None if it is empty.

    Attributes:
        duplicates: each key that stands twice, and its second line.
    """

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


def yaml_mistake(text: str, error: yaml.YAMLError) -> tuple[int, str]:
    """Why a file is not YAML.

    Args:
        text: of the file.
        error: what was raised.

    Returns:
        The line (0 where that is not known), and what is wrong.
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return 0, f"not valid YAML: {error}"
    number = mark.line + 1
    hint = ""
    for line in text.splitlines()[max(0, number - 2) : number]:
        if re.search(r"[:-]\s*\[[0-9a-fA-F:]*:[0-9a-fA-F:]*\]", line):
            hint = '; an address in brackets must be quoted: listen: "[::]:8080"'
        elif line.startswith("\t"):
            hint = "; YAML is indented with spaces, not tabs"
    problem = getattr(error, "problem", None) or str(error)
    return number, f"not valid YAML: {problem}{hint}"


def validation_mistakes(error: ValidationError, lines: Lines) -> list[tuple[int, str]]:
    """Pydantic's errors as (line, ``key: what is wrong``), in the order of the file."""
    texts: dict[tuple[str, ...], list[str]] = {}
    for mistake in error.errors():
        place = _place(tuple(str(part) for part in mistake["loc"]), lines)
        texts.setdefault(place, []).extend(_texts(mistake, place))

    found = []
    for place, wrong in texts.items():
        if place:
            found += [(lines.of(place), f"{'.'.join(place)}: {text}") for text in _merged(wrong)]
        else:  # found between keys: such a text begins with the key that it is about
            found += [(lines.of(tuple(text.split(":")[0].split("."))), text) for text in wrong]
    return sorted(found)


def model_at(place: tuple[str, ...]) -> type[BaseModel] | None:
    """The model whose keys are allowed at a place in the file; None where a value stands.

    Args:
        place: the keys that lead there: ``("apps", "lab", "recycle")``.
    """
    kind: Any = Settings
    for key in place:
        if _is_model(kind) and key in kind.model_fields:
            kind = kind.model_fields[key].annotation
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            return None
    return kind if _is_model(kind) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _place(whole: tuple[str, ...], lines: Lines) -> tuple[str, ...]:
    """As much of pydantic's place as readers know: keys of the file, and keys left at a default that is wrong here.

    Within a union pydantic adds the type that it tried.
    """
    place = lines.known(whole)
    while len(place) < len(whole) and (model := model_at(place)) and whole[len(place)] in model.model_fields:
        place = whole[: len(place) + 1]
    return place


def _texts(mistake: Any, place: tuple[str, ...]) -> list[str]:
    """What is wrong at a place, one text or more."""
    match mistake["type"]:
        case "extra_forbidden":
            return [_unknown_key(place)]
        case "value_error":
            return str(mistake["ctx"]["error"]).splitlines()
        case "string_pattern_mismatch":
            pattern = mistake["ctx"]["pattern"]
            text = f"expected {PATTERNS.get(pattern, f'text of the form {pattern}')}"
        case kind:
            text = EXPECTED.get(kind) or str(mistake["msg"]).replace("Input should be", "expected")
    got = mistake["input"]
    return [text if isinstance(got, dict | list) else f"{text}, got {got!r}"]


def _unknown_key(place: tuple[str, ...]) -> str:
    model = model_at(place[:-1])
    keys = list(model.model_fields) if model else []
    if len(place) == 1 and place[0] in AppSettings.model_fields:
        return f"this key belongs to an app; below apps, for one: apps: {{app: {{{place[0]}: ...}}}}"
    if place[-2:] in RENAMED:
        guess = f'; it is called "{RENAMED[place[-2:]]}" now;'
    elif close := difflib.get_close_matches(place[-1], keys, n=1):
        guess = f'; did you mean "{close[0]}"?'
    else:
        guess = ";"
    return f"unknown key{guess} allowed here: {', '.join(keys)}"


def _merged(texts: list[str]) -> list[str]:
    """One line for a value that fits none of several types: ``expected 'auto' or true or false, got 'x'``."""
    wanted = [text.partition(", got ") for text in texts]
    if len(texts) > 1 and all(text.startswith("expected ") for text in texts):
        allowed = " or ".join(text.removeprefix("expected ") for text, _, _ in wanted)
        return [f"expected {allowed}, got {wanted[0][2]}"]
    return texts
