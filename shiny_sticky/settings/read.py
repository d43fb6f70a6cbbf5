"""The settings file, read and validated. Nothing else in the project reads YAML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shiny_sticky.errors import SettingsError
from shiny_sticky.settings.mistakes import Lines, validation_mistakes, yaml_mistake
from shiny_sticky.settings.model import Settings


def load(file: Path) -> Settings:
    """Read and validate a settings file.

    Args:
        file: the YAML file; paths in it are relative to its folder.

    Raises:
        SettingsError: all mistakes at once, each with file, line, key and what is allowed.
    """
    file = Path(os.path.abspath(file))
    values, lines = _parse(file, _text(file))
    mistakes = [(line, f"{key}: this key stands twice") for key, line in lines.duplicates]
    settings = None
    try:
        settings = Settings.model_validate(values, context={"folder": file.parent})
    except ValidationError as error:
        mistakes += validation_mistakes(error, lines)
    if settings is None or mistakes:
        raise SettingsError([f"{file}:{line}: {text}" for line, text in mistakes])
    return settings


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError([f"{file}: cannot be read: {reason}"]) from None


def _parse(file: Path, text: str) -> tuple[dict[str, Any], Lines]:
    """The values of a YAML file, and where each stands.

    Raises:
        SettingsError: it is not valid YAML, or no mapping.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line, what = yaml_mistake(text, error)
        raise SettingsError([f"{file}{f':{line}' if line else ''}: {what}"]) from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SettingsError([f"{file}:1: expected keys such as `listen: 127.0.0.1:8080`, got {values!r}"])
    return values, Lines(root)
