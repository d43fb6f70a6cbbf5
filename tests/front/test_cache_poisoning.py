"""Nobody is given what nginx has kept of another one's: not in another encoding, nor what was private."""

import contextlib
import http.client
import json
import random
import re
import socket
import zlib

import brotli
import pytest
import zstandard

from support.real_site import APPS, Site

DECODERS = {
    None: bytes,
    "gzip": lambda data: zlib.decompress(data, 31),
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}

# Pieces of Accept-Encoding headers; \xe9 is a letter to Unicode, and none to ASCII.
PIECES = ["br", "zstd", "gzip", "GZIP", ",", ", ", ";q=0", "; q=0.0", ";q=0.5", "x", "-", "_", "\xe9", "\xb5", "*"]


@pytest.fixture(scope="module")
def kept():
    with Site(
        {"app": {"target": str(APPS / "kept_files.py"), "workers": 2}},
        cache={"paths": ["/kept/"]},
    ) as site:
        yield site.start()


def ask(site: Site, path: str, *headers: tuple[str, str]) -> tuple[str | None, dict]:
    """One request with header lines as they are given; the encoding of the answer, and what it says."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *map(": ".join, headers)]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        encoding, body = response.headers["Content-Encoding"], response.read()
    return encoding, json.loads(DECODERS[encoding](body))


def number(site: Site, path: str, *headers: tuple[str, str]) -> int:
    """Which of the app's answers comes; the same one twice has been kept."""
    encoding, answer = ask(site, path, *headers)
    assert encoding is None
    return answer["number"]


def is_kept(site: Site, path: str, *headers: tuple[str, str]) -> bool:
    """Whether four requests see fewer answers than there were requests."""
    return len({number(site, path, *headers) for _ in range(4)}) < 4


def entries(site: Site) -> list[tuple[str, str]]:
    """What nginx keeps: the encodings that a key names, and the encoding of the file under it."""
    found = []
    for file in (site.run_dir / "cache").rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            head = file.read_bytes().partition(b"\r\n\r\n")[0].decode("latin-1")
            key = re.search(r"\nKEY: (\S*) (\S*) ", head)
            encoding = re.search(r"(?i)\ncontent-encoding: (\S+)", head)
            found.append((f"{key[1]} {key[2]}", encoding[1] if encoding else ""))
    return found


# --- in another encoding


@pytest.mark.parametrize(
    "lines", [("gzip", "br"), ("br", "gzip"), ("identity", "br"), ("gzip;q=0", "gzip"), ("br;q=0", "br", "gzip")]
)
def test_two_accept_encoding_lines_poison_no_other_clients_file(kept, lines):
    path = "/kept/" + "-".join(re.sub(r"\W", "", line) for line in lines)
    ask(kept, path, *(("Accept-Encoding", line) for line in lines))
    assert ask(kept, path, ("Accept-Encoding", "gzip"))[0] == "gzip"
    assert ask(kept, path, ("Accept-Encoding", "br"))[0] == "br"
    assert ask(kept, path)[0] is None


def test_nginx_and_the_worker_read_every_accept_encoding_alike(kept):
    chance = random.Random(5)
    asked = [["br"], ["br, gzip"], ["zstd"], ["zstd, gzip"], ["gzip"], [""]]
    for _ in range(150):
        lines = ["".join(chance.choices(PIECES, k=chance.randint(1, 6))) for _ in range(chance.choice([1, 1, 2]))]
        asked.append(lines)
    for turn, lines in enumerate(asked):
        ask(kept, f"/kept/fuzz{turn}", *(("Accept-Encoding", line) for line in lines))
    found = entries(kept)
    assert len(found) >= len(asked)
    expected = {"br gzip": "br", "br ": "br", "zstd gzip": "zstd", "zstd ": "zstd", " gzip": "gzip", " ": ""}
    assert [pair for pair in found if expected[pair[0]] != pair[1]] == []
    assert {key for key, _ in found} == set(expected)
