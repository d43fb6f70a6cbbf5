"""What whoever runs the site says to all visitors."""

from __future__ import annotations

from shiny_sticky.errors import StickyError

# Characters that a bar in a page has room for.
LONGEST = 300


class Announcement:
    """The text that all pages show.

    Attributes:
        text: in one line; empty for none.
    """

    def __init__(self) -> None:
        self.text = ""

    def say(self, text: str) -> None:
        """Replace the text.

        Args:
            text: with whatever white space; empty for none.

        Raises:
            StickyError: it is too long, and the one before stands.
        """
        line = " ".join(text.split())
        if len(line) > LONGEST:
            raise StickyError(f"The text has {len(line)} characters; a bar in a page has room for {LONGEST}.")
        self.text = line
