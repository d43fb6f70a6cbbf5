"""What whoever runs the site says to all visitors, until it is taken away: the next launcher says so, too."""

from __future__ import annotations

import os
from pathlib import Path

from shiny_sticky.errors import StickyError
from shiny_sticky.foreign_folders import FILE_ONLY

NAME = "announcement"

# Characters that a bar in a page has room for.
LONGEST = 300


class Announcement:
    """The text that all pages show.

    Args:
        folder: run_dir, in which a file keeps it; None if nothing does.

    Attributes:
        text: in one line; empty for none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / NAME
        self.text = "" if self._file is None else _line(_read(self._file))[:LONGEST]

    def say(self, text: str) -> None:
        """Replace the text.

        Args:
            text: with whatever white space; empty for none.

        Raises:
            StickyError: it is too long, or cannot be kept, and the one before stands.
        """
        line = _line(text)
        if len(line) > LONGEST:
            raise StickyError(f"The text has {len(line)} characters; a bar in a page has room for {LONGEST}.")
        if self._file is not None:
            try:
                _write(self._file, line)
            except OSError as error:
                raise StickyError(f"{self._file} cannot be changed: {error.strerror}") from None
        self.text = line


def _line(text: str) -> str:
    return " ".join(text.split())


def _read(file: Path) -> str:
    """What a file says; nothing if it is missing, or no file: whatever stands in its place, the site starts."""
    try:
        descriptor = os.open(file, FILE_ONLY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 8 * LONGEST).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _write(file: Path, text: str) -> None:
    """Let a file say a text, in one step, or be gone if there is none.

    Raises:
        OSError: the disk is full, or something else stands in its place.
    """
    if not text:
        file.unlink(missing_ok=True)
        return
    fresh = file.with_name(f".{file.name}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as kept:
        kept.write(text.encode())
    fresh.replace(file)
