"""Nobody is given what nginx has kept of another one's: not in another encoding, nor what was private."""

import contextlib
import http.client
import json
import random
import re
import socket

import pytest

from support.decoding import DECODERS
from support.real_site import APPS, ROOT, Site, until

# Pieces of Accept-Encoding headers; \xe9 is a letter to Unicode, and none to ASCII.
PIECES = ["br", "zstd", "gzip", "GZIP", ",", ", ", ";q=0", "; q=0.0", ";q=0.5", "x", "-", "_", "\xe9", "\xb5", "*"]


@pytest.fixture(scope="module")
def kept():
    with Site(
        {"app": {"target": str(APPS / "kept_files.py"), "workers": 2}},
        cache={"paths": ["/kept/", "/asked/?"]},
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


def token(site: Site, path: str, *headers: tuple[str, str]) -> str:
    """Which of the app's answers comes; the same one twice has been kept."""
    encoding, answer = ask(site, path, *headers)
    assert encoding is None
    return answer["token"]


def is_kept(site: Site, path: str, *headers: tuple[str, str]) -> bool:
    """Whether some of six requests see the same answer; nginx has written it a moment after it was sent."""
    return len({token(site, path, *headers) for _ in range(6)}) < 6


def entries(site: Site) -> list[tuple[str, str]]:
    """What nginx keeps: the encodings that a key names, and the encoding of the file under it."""
    found = []
    for file in (site.run_dir / "cache").rglob("*"):
        if "." in file.name:  # nginx is writing it
            continue
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
    found = until(lambda: len(some := entries(kept)) >= len(asked) and some, "all are kept")
    expected = {"br gzip": "br", "br ": "br", "zstd gzip": "zstd", "zstd ": "zstd", " gzip": "gzip", " ": ""}
    assert [pair for pair in found if expected[pair[0]] != pair[1]] == []
    assert {key for key, _ in found} == set(expected)


# --- what was private


def test_what_says_nothing_of_the_kind_is_kept(kept):
    """The others below would hold for a cache that keeps nothing."""
    assert is_kept(kept, "/kept/plain")
    assert is_kept(kept, "/kept/vary=Accept-Encoding&cache-control=max-age=9")
    assert is_kept(kept, "/kept/vary=Accept-Encoding&vary=accept-encoding")


@pytest.mark.parametrize(
    "headers",
    [
        "vary=Cookie&vary=Accept-Encoding",
        "vary=Accept-Encoding&vary=Cookie",
        "vary=Accept-Encoding,Cookie",
        "vary=*",
        "cache-control=private&cache-control=max-age=9",
        "cache-control=max-age=9&cache-control=no-store",
        "Cache-Control=max-age=9,PRIVATE",
        "set-cookie=a=1",
    ],
)
def test_every_line_counts_that_says_it_is_private(kept, headers):
    assert not is_kept(kept, f"/kept/{headers}")


def test_an_app_keeps_nothing_for_everybody_on_its_own(kept):
    """X-Accel-Expires is how the worker marks what nginx may keep; an app's own is none of it."""
    assert not is_kept(kept, "/kept/x-accel-expires=9&cache-control=private")
    assert not is_kept(kept, "/kept/x-accel-expires=9", ("Authorization", "Basic YWxpY2U6eA=="))
    assert not is_kept(kept, "/kept/x-accel-expires=9&?user=alice")


def test_what_was_asked_for_with_authorization_is_nobody_elses(kept):
    path, alice, bob = "/kept/mine", ("Authorization", "Basic alice"), ("Authorization", "Basic bob")
    assert ask(kept, path, alice)[1]["authorization"] == "Basic alice"
    assert ask(kept, path, bob)[1]["authorization"] == "Basic bob"
    assert ask(kept, path)[1]["authorization"] is None


def test_with_authorization_nothing_comes_that_was_kept_for_others(kept):
    path = "/kept/everybodys"
    assert is_kept(kept, path)
    assert ask(kept, path, ("Authorization", "Basic alice"))[1]["authorization"] == "Basic alice"
    assert ask(kept, path)[1]["authorization"] is None, "nor does that replace it"
    assert is_kept(kept, path)


def test_an_answer_to_one_query_is_none_to_another(kept):
    assert is_kept(kept, "/kept/page")
    for path in ("/kept/page?user=alice", "/kept/page?user=bob"):
        assert ask(kept, path)[1]["query"] == path.partition("?")[2]
        assert not is_kept(kept, path)
    assert ask(kept, "/kept/page")[1]["query"] == ""
    long = "user=" + "x" * 6000  # more than a key may have
    assert ask(kept, f"/kept/page?{long}")[1]["query"] == long


def test_a_path_may_say_that_it_is_kept_once_for_each_query(kept):
    assert is_kept(kept, "/asked/tile?x=1")
    assert is_kept(kept, "/asked/tile?x=2")
    assert is_kept(kept, "/asked/tile")
    for query in ("x=1", "x=2", ""):
        assert ask(kept, f"/asked/tile?{query}")[1]["query"] == query
    assert not is_kept(kept, "/asked/tile?x=3", ("Authorization", "Basic alice"))


def test_no_spelling_of_a_query_is_answered_with_another_ones_file(kept):
    """A key is read in one way only, whatever a path or query has in it."""
    path = "/asked/a?b=/asked/c"
    first = until(lambda: (it := token(kept, path)) == token(kept, path) and it, "it is kept")
    for other in ("/asked/a%3Fb=/asked/c", "/asked/c?b=/asked/a", "/asked/a%20b=/asked/c", "/asked/a?b=%2Fasked/c"):
        assert token(kept, other) != first, other


@pytest.fixture(scope="module")
def demo():
    with Site({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 1}}) as site:
        yield site.start()


def test_shinys_files_are_kept_for_everybody_only_from_requests_of_anybody(demo):
    path = "/" + re.search(r'"(lib/jquery[^"]+)"', demo.ask("/").body.decode())[1]
    for asked, headers, control in (
        (path, {"Authorization": "Basic YWxpY2U6eA=="}, "private"),
        (f"{path}?user=alice", {}, "public"),
    ):
        reply = demo.ask(asked, headers={"Accept-Encoding": "gzip, br", **headers})
        assert reply.status == 200
        assert reply.headers["Content-Encoding"] == "br", "nobody pays for it with a slow page"
        assert reply.headers["Cache-Control"] == f"{control}, max-age=604800, immutable"
    assert entries(demo) == []
    assert demo.ask(path, headers={"Accept-Encoding": "gzip, br"}).headers["Cache-Control"].startswith("public")
    until(lambda: entries(demo) == [("br gzip", "br")], "it is kept")
