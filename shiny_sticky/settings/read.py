"""The settings file, read and validated. Nothing else in the project reads YAML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shiny_sticky import program
from shiny_sticky.errors import SettingsError
from shiny_sticky.settings.mistakes import Lines, validation_mistakes, yaml_mistake
from shiny_sticky.settings.model import AppSettings, Settings

# The app that is served where a file names none.
DEFAULT_TARGET = AppSettings.model_fields["target"].default


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
        mistakes += _unnamed_app(validation_mistakes(error, lines), values)
    if settings is None or mistakes:
        raise SettingsError([f"{file}:{line}: {text}" for line, text in mistakes])
    return settings


def _unnamed_app(mistakes: list[tuple[int, str]], values: dict[str, Any]) -> list[tuple[int, str]]:
    """The mistakes, told otherwise where a file names no app, and there is none of the usual name."""
    if "apps" in values:
        return mistakes
    text = f"no app is named, and there is no {DEFAULT_TARGET}. Name yours: apps: {{app: {{target: app.py}}}}"
    return [(1, text) if mistake.startswith("apps") else (line, mistake) for line, mistake in mistakes]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "") if isinstance(error, OSError) else "it is not UTF-8 text"
        if isinstance(error, FileNotFoundError):
            reason += f". Write one: {program.name()} init app.py; or serve an app without: {program.name()} app.py"
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
