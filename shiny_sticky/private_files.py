"""Small files that are ours alone, in a folder where something else may have been put in their place."""

from __future__ import annotations

import os
from pathlib import Path

from shiny_sticky.foreign_folders import FILE_ONLY


def create(file: Path) -> int:
    """Make an empty file in place of whatever is there; gives its descriptor, to write to.

    Raises:
        OSError: the disk is full, or a folder is in its place.
    """
    file.unlink(missing_ok=True)
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write(file: Path, content: bytes) -> None:
    """Let a file have a content, in one step.

    Raises:
        OSError: the disk is full, or a folder is in its place.
    """
    fresh = file.with_name(f".{file.name}")
    with os.fdopen(create(fresh), "wb") as kept:
        kept.write(content)
    fresh.replace(file)


def read(file: Path, most: int) -> bytes:
    """What a file has; nothing if it is missing, or no file.

    Args:
        file: where it is.
        most: bytes that are read.
    """
    try:
        descriptor = os.open(file, FILE_ONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, most)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
