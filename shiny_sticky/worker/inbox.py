"""Where a worker whose launcher is gone hears from later ones: a file that those write (supervision/inbox.py)."""

from __future__ import annotations

from pathlib import Path

# Bytes that are read at a time.
PIECE = 65536


class Inbox:
    """A file that may come into being, and grow.

    Args:
        file: its path.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def read(self) -> bytes:
        """What has been written since it was read last; nothing if there is no file (yet)."""
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._position)
                found = stream.read(PIECE)
        except OSError:
            return b""
        self._position += len(found)
        return found
