"""Content codings undone: a name as HTTP has it to what makes the content of it."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import brotli
import zstandard

DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
