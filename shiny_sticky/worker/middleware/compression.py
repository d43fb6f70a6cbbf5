"""Compressing files: which ways there are here, which a client takes, and a store of what was compressed."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gzip
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .. import nginx_cache

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # in an interpreter of the app's own, which needs neither
    brotli = None
try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

# Seconds of compressing must not take the processor from sessions.
NICENESS = 10

Compress = Callable[[bytes], bytes]


class Coding(NamedTuple):
    """A content coding.

    Attributes:
        name: as HTTP has it.
        quickly: compresses while a client waits.
        well: compresses as well as can be, which takes seconds.
    """

    name: str
    quickly: Compress
    well: Compress


def codings() -> dict[str, Coding]:
    """The content codings that this interpreter can make, by name.

    Brotli and Zstandard are there if the packages `brotli` and `zstandard` are.
    """
    found = []
    if brotli is not None:
        quickly, well = (functools.partial(brotli.compress, quality=quality) for quality in (5, 11))
        found.append(Coding("br", quickly, well))
    if zstandard is not None:
        found.append(Coding("zstd", _zstd(3), _zstd(22)))
    quickly, well = (functools.partial(gzip.compress, compresslevel=level, mtime=0) for level in (6, 9))
    found.append(Coding("gzip", quickly, well))
    return {coding.name: coding for coding in found}


def _zstd(level: int) -> Compress:
    # Clients need not take windows above 8 MB: RFC 9659, section 3.
    window_log = 23 if level > 19 else 0
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_log)
    return lambda data: zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def preferred(header: str) -> list[str]:
    """The codings that an Accept-Encoding header takes, best first; Zstandard only from clients without Brotli.

    nginx reads the header in the same way, to keep a file once for each answer (front/patterns.py): a word ends
    where it does in ASCII.
    """

    def takes(name: str) -> bool:
        pattern = rf"\b{name}\b(?![ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:,|$))"
        return re.search(pattern, header, re.IGNORECASE | re.ASCII) is not None

    best = [name for name in ("br", "zstd") if takes(name)][:1]
    return [*best, "gzip"] if takes("gzip") else best


class CompressedFiles:
    """A folder of compressed files, shared by all workers, named by the content that they are made of.

    Args:
        folder: where it is.
        room: bytes that it may take.
    """

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._room = room
        self._begun: set[str] = set()
        self._full = False
        self._one_at_a_time = threading.Lock()

    def has_room(self, size: int) -> bool:
        """Whether the disk that the folder is on takes a file of `size` bytes, of nginx's, say."""
        return nginx_cache.has_room(self._folder, size)

    def find(self, name: str) -> bytes | None:
        """A file's content; None as long as it is not there."""
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def add(self, name: str, compress: Compress, data: bytes) -> bool:
        """Begin to make a file, unless that is begun already; another worker may do it just as well.

        Returns:
            Whether it can be expected to be there soon.
        """
        if not self._full and name not in self._begun:
            self._begun.add(name)
            threading.Thread(
                target=self._make, args=(name, compress, data), name="sticky-compress", daemon=True
            ).start()
        return not self._full

    def _make(self, name: str, compress: Compress, data: bytes) -> None:
        file = self._folder / name
        part = self._folder / f"{name}.part"
        with contextlib.suppress(OSError):  # Linux gives each thread a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            # Opening must not empty it: another worker may have written it, and be about to rename it.
            with self._one_at_a_time, part.open("ab") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return  # another worker is at it
                if file.exists():
                    part.unlink(missing_ok=True)  # it may be the file by now
                    return
                stream.truncate(0)  # what a worker that was killed has left
                stream.write(compress(data))
                stream.flush()
                if self._taken() > self._room:
                    part.unlink()
                    self._full = True
                    return
                part.replace(file)
        except OSError:  # the disk is full
            self._full = True
        finally:
            self._begun.discard(name)

    def _taken(self) -> int:
        """The bytes of all files in the folder."""
        taken = 0
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):  # another worker has just renamed it
                taken += entry.stat().st_size
        return taken
