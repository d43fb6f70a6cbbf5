"""Errors that are meant for the person who reads them."""


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
