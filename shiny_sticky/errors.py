"""Errors that are meant for the person who reads them."""

from __future__ import annotations

from dataclasses import dataclass


class StickyError(Exception):
    """Something that the user can put right; its text says what is wrong, where, and what to do.

    Raised as itself for the environment (exit code 1): nginx missing, a port in use, an app that does not import.
    """

    exit_code = 1


class SettingsError(StickyError):
    """A mistake in the settings file (exit code 2).

    Args:
        mistakes: one line each, without the file's name repeated by the caller.
    """

    exit_code = 2

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass
class StartFailed(StickyError):
    """A worker did not come up.

    Attributes:
        text: why, in a sentence.
        traceback: of the app's own code, when that failed to import.
    """

    text: str
    traceback: str = ""

    def __str__(self) -> str:
        return self.text

    def of(self, app: str) -> StartFailed:
        """The same, with the name of the app in front."""
        return StartFailed(f"App {app}: {self.text}", self.traceback)
