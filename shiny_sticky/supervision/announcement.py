"""What whoever runs the site says to all visitors, until it is taken away: the next launcher says so, too."""

from __future__ import annotations

from pathlib import Path

from shiny_sticky import private_files
from shiny_sticky.errors import StickyError

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
        self.text = ""
        if self._file is not None:
            kept = private_files.read(self._file, 8 * LONGEST)
            self.text = _line(kept.decode(errors="replace"))[:LONGEST]

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
                if line:
                    private_files.write(self._file, line.encode())
                else:
                    self._file.unlink(missing_ok=True)
            except OSError as error:
                raise StickyError(f"{self._file} cannot be changed: {error.strerror}") from None
        self.text = line


def _line(text: str) -> str:
    return " ".join(text.split())
