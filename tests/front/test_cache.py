"""Static files are kept by nginx, compressed once; everything else is as it would be without."""

import contextlib
import fcntl
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from shiny_sticky.worker.middleware.compression import CompressedFiles
from support.decoding import DECODERS
from support.real_site import APPS, ECHO, PATIENCE, ROOT, Reply, Site, until

BROWSER = "gzip, deflate, br, zstd"
# What clients send, and the encoding that they get.
CLIENTS = {
    BROWSER: "br",
    "gzip, deflate": "gzip",
    "br": "br",
    "zstd": "zstd",
    "zstd, gzip": "zstd",
    "GZIP;q=0.5": "gzip",
    "br;q=0, gzip": "gzip",
    "gzip;q=0.0, br ; q=0, zstd;q=0.000": None,
    "identity": None,
    "": None,
    None: None,
}


def fetch(site: Site, path: str, accept: str | None = BROWSER, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.ask(path, headers={**named, **({} if accept is None else {"Accept-Encoding": accept})})


def plain(reply: Reply) -> bytes:
    return DECODERS[reply.headers["Content-Encoding"]](reply.body)


def best(site: Site, path: str, accept: str | None = BROWSER) -> Reply:
    """A file once it is compressed as well as can be, and kept for good."""

    def settled() -> Reply | None:
        reply = fetch(site, path, accept)
        assert reply.status == 200
        return None if "-q" in reply.headers["ETag"] else reply

    return until(settled, f"{path} is compressed well", 10 * PATIENCE)  # by what is last in line for a CPU


def assets(site: Site, page: str = "/") -> list[str]:
    html = site.ask(page).body.decode()
    return [page + found for found in re.findall(r'(?:src|href)="((?!data:)[^"]+)"', html)]


def write_files(site: Site) -> None:
    """The app of apps/files_app.py and its files, in the site's folder."""
    (site.folder / "app.py").write_text((APPS / "files_app.py").read_text())
    for name, text in {
        "own/own.js": "// version 1\n" * 500,
        "own/own.css": "p { color: red }\n" * 100,
        "www/style.css": "p { margin: 1px }\n" * 100,
        "www/lib/mine.js": "// mine 1\n" * 500,
        "www/img/logo.svg": "<svg xmlns='http://www.w3.org/2000/svg'></svg>" * 50,
        "www/img/photo.bin": "no text",
    }.items():
        file = site.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def files_site(site_of, **settings) -> Site:
    site = site_of({"app": {"target": "app.py", "workers": 2, **settings.pop("app", {})}}, **settings)
    write_files(site)
    return site.start()


@pytest.fixture(scope="module")
def demo():
    with Site({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 4}}) as site:
        yield site.start()


@pytest.fixture(scope="module")
def files():
    with Site({"app": {"target": "app.py", "workers": 2}}) as site:
        write_files(site)
        yield site.start()


@pytest.fixture(scope="module")
def uncached():
    """The demo's files as they are."""
    with Site({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 1}}, cache=False) as site:
        site.start()
        yield {path: site.ask(path) for path in assets(site)}


# --- what is served


@pytest.mark.parametrize("accept", CLIENTS)
def test_every_asset_is_the_uncached_one_in_the_encoding_that_the_client_takes(demo, uncached, accept):
    assert len(uncached) >= 13
    for path, original in uncached.items():
        reply = fetch(demo, path, accept)
        assert reply.status == 200
        assert plain(reply) == original.body, path
        assert reply.headers["Content-Type"] == original.headers["Content-Type"]
        assert reply.headers["Last-Modified"] == original.headers["Last-Modified"]
        assert reply.headers["Content-Encoding"] == CLIENTS[accept], path
        assert reply.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accept", [BROWSER, "gzip", "zstd"])
def test_compressed_at_the_highest_level_they_are_still_the_same(demo, uncached, accept):
    replies = {path: best(demo, path, accept) for path in uncached}
    assert all(plain(reply) == uncached[path].body for path, reply in replies.items())
    if accept == BROWSER:
        size = sum(len(reply.body) for reply in replies.values())
        assert size <= 0.2 * sum(len(reply.body) for reply in uncached.values())


def new_file(site: Site, name: str) -> tuple[str, bytes]:
    """The path and content of a file that nobody has asked for yet."""
    (site.folder / "own" / name).write_text(f"/* {name} */\n" * 300)
    return f"/lib/own-1.0/{name}", (site.folder / "own" / name).read_bytes()


def test_the_first_answer_is_compressed_quickly_and_its_tag_is_another(files):
    path, content = new_file(files, "first.js")
    first = fetch(files, path)
    later = best(files, path)
    assert "-q-br" in first.headers["ETag"]
    assert plain(first) == plain(later) == content
    assert first.headers["ETag"] != later.headers["ETag"]


def test_kept_files_come_without_a_cookie_and_set_none(files):
    path = "/lib/own-1.0/own.css"
    for _ in range(3):
        assert fetch(files, path).set_cookies == []
        assert fetch(files, path, Cookie="sticky=app2").set_cookies == []
        assert fetch(files, path, Cookie="sticky=nobody").set_cookies == []
    log = files.run_dir / "nginx-access.log"
    until(lambda: re.search(rf"GET {path} .* - HIT$", log.read_text(), re.MULTILINE), "a hit is in the log")


def test_browsers_keep_shinys_files_and_are_told_so(files):
    control = fetch(files, "/lib/own-1.0/own.js").headers["Cache-Control"]
    assert control == "public, max-age=604800, immutable"


def test_browsers_ask_again_for_files_whose_version_is_none(files):
    reply = best(files, "/lib/widget-0.0/own.js")
    assert reply.headers["Cache-Control"] == "no-cache"
    assert fetch(files, "/lib/widget-0.0/own.js", If_None_Match=reply.headers["ETag"]).status == 304
    log = files.run_dir / "nginx-access.log"
    until(lambda: re.search(r"widget-0\.0/own\.js .* - HIT$", log.read_text(), re.MULTILINE), "nginx keeps them")


@pytest.mark.parametrize("accept", [BROWSER, "gzip", None])
def test_a_file_that_the_client_has_is_not_sent_again(files, accept):
    path = "/lib/own-1.0/own.js"
    reply = best(files, path, accept)
    again = fetch(files, path, accept, If_None_Match=reply.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == reply.headers["ETag"]
    assert fetch(files, path, accept, If_None_Match='"other"').status == 200
    assert fetch(files, path, accept, If_Modified_Since=reply.headers["Last-Modified"]).status == 304


def test_encodings_have_tags_of_their_own(files):
    path = "/lib/own-1.0/own.js"
    tags = {best(files, path, accept).headers["ETag"] for accept in (BROWSER, "gzip", "zstd", None)}
    assert len(tags) == 4


@pytest.mark.parametrize("accept", [BROWSER, "gzip", None])
def test_ranges_are_parts_of_what_the_tag_names(files, accept):
    path = "/lib/own-1.0/own.css"
    whole = best(files, path, accept)
    part = fetch(files, path, accept, Range="bytes=5-14", If_Range=whole.headers["ETag"])
    assert (part.status, part.body) == (206, whole.body[5:15])
    assert part.headers["Content-Range"] == f"bytes 5-14/{len(whole.body)}"
    other = fetch(files, path, accept, Range="bytes=5-14", If_Range='"other"')
    assert (other.status, other.body) == (200, whole.body)


def test_a_range_asked_for_first_is_right_too(files):
    path, content = new_file(files, "range.css")
    part = fetch(files, path, None, Range="bytes=5-14")
    assert (part.status, part.body) == (206, content[5:15])
    assert plain(fetch(files, path, None)) == content


def test_head_tells_what_get_would(files):
    path = "/lib/own-1.0/own.css"
    whole = best(files, path)
    head = files.ask(path, method="HEAD", headers={"Accept-Encoding": BROWSER})
    assert (head.status, head.body) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Type", "Content-Encoding", "Cache-Control"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    "odd",
    [
        "/lib/other-1.0/%2e%2e/own-1.0/odd1.css",
        "/lib/own-1.0/./odd2.css",
        "/lib//own-1.0/odd3.css",
        "/lib/own-1.0/odd4%2ecss",
        "/x/../lib/own-1.0/odd5.css",
    ],
)
def test_odd_paths_do_not_change_what_a_path_means(files, odd):
    path, content = new_file(files, re.search(r"odd\d", odd)[0] + ".css")
    fetch(files, odd)
    assert plain(fetch(files, path)) == content


# --- for how long


def test_kept_files_are_served_while_all_workers_are_down(site_of):
    site = files_site(site_of)
    known = best(site, "/lib/own-1.0/own.js")
    quick = fetch(site, "/lib/own-1.0/own.css", "gzip")  # nginx should ask for this one again
    workers = list(site.table().values())
    os.kill(site.launcher.pid, signal.SIGKILL)  # or it would start them again
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: site.ask("/").status == 503, "no worker is left")
    for path, before, accept in (("own.js", known, BROWSER), ("own.css", quick, "gzip")):
        reply = fetch(site, f"/lib/own-1.0/{path}", accept)
        assert (reply.status, reply.body) == (200, before.body)


def test_a_deploy_brings_new_files(site_of):
    site = files_site(site_of, cache={"paths": ["/style.css"]})
    for path in ("/lib/own-1.0/own.js", "/style.css"):
        best(site, path)
    (site.folder / "own" / "own.js").write_text("// version 2\n" * 500)
    (site.folder / "www" / "style.css").write_text("p { margin: 2px }\n" * 100)
    assert plain(fetch(site, "/lib/own-1.0/own.js")).startswith(b"// version 1")
    site.reload()
    assert plain(fetch(site, "/lib/own-1.0/own.js")).startswith(b"// version 2")
    assert plain(fetch(site, "/style.css")).startswith(b"p { margin: 2px }")


def test_a_new_launcher_begins_with_an_empty_cache(site_of):
    site = files_site(site_of)
    best(site, "/lib/own-1.0/own.js")
    assert site.stop() == 0
    (site.folder / "own" / "own.js").write_text("// version 2\n" * 500)
    site.start()
    assert plain(fetch(site, "/lib/own-1.0/own.js")).startswith(b"// version 2")


@pytest.mark.slow
def test_the_cache_does_not_outgrow_its_size(site_of):
    site = site_of({"app": {"target": "app.py", "workers": 1}}, cache={"paths": ["/img/"], "max_size": "1MiB"})
    write_files(site)
    for number in range(12):
        (site.folder / "www" / "img" / f"{number}.bin").write_bytes(os.urandom(300_000))
    site.start()
    for number in range(12):
        assert fetch(site, f"/img/{number}.bin").status == 200

    def kept() -> int:
        return sum(map(len, contents(site.run_dir / "cache")))

    until(lambda: 0 < kept() <= 1.5e6, "nginx has removed the oldest", 40)  # it looks every 10 s
    assert fetch(site, "/img/0.bin").status == 200


def test_no_more_is_compressed_than_there_is_room_for(site_of):
    """The compressed files of all workers together stay below max_size; what has no place is compressed quickly."""
    site = site_of({"app": {"target": "app.py", "workers": 1}}, cache={"paths": ["/img/"], "max_size": "1MiB"})
    write_files(site)
    for number in range(8):
        (site.folder / "www" / "img" / f"{number}.json").write_text(json.dumps(os.urandom(200_000).hex()))
    site.start()
    for number in range(8):
        until(
            lambda n=number: _is_settled(site, f"/img/{n}.json"),
            f"{number}.json is as good as it gets",
            10 * PATIENCE,
        )
    assert 0 < sum(map(len, contents(site.run_dir / "compressed"))) <= 1 << 20


def _is_settled(site: Site, path: str) -> bool:
    """Whether nginx will not ask for a file again: its entry is to be kept for long."""
    fetch(site, path)
    entries = [entry for entry in contents(site.run_dir / "cache") if b"KEY: br gzip " + path.encode() in entry]
    return any(b"x-accel-expires: 31536000" in entry for entry in entries)


def contents(folder: Path) -> list[bytes]:
    """What the files in and below a folder contain, in which others write, rename and remove some all the time."""
    found = []
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            found.append(file.read_bytes())
    return found


def test_a_file_that_another_worker_renames_does_not_stop_the_compressing(tmp_path):
    (tmp_path / "other.gzip.part").symlink_to("nowhere")  # listed with its folder, and gone when it is looked at
    store = CompressedFiles(tmp_path, 1 << 20)
    assert store.add("name.gzip", gzip.compress, b"data")
    until(lambda: store.find("name.gzip"), "it is made")
    assert store.add("more.gzip", gzip.compress, b"data")


def test_workers_that_compress_the_same_file_leave_each_others_alone(tmp_path):
    store, part = CompressedFiles(tmp_path, 1 << 20), tmp_path / "name.gzip.part"
    with part.open("wb") as others:  # of a worker that has written it, and is about to rename it
        fcntl.flock(others, fcntl.LOCK_EX)
        others.write(b"done")
        others.flush()
        assert store.add("name.gzip", gzip.compress, b"data")
        until(lambda: "name.gzip" not in store._begun, "it has given way")
        part.rename(tmp_path / "name.gzip")
    assert store.find("name.gzip") == b"done"


def test_what_a_killed_worker_has_left_half_done_is_made_anew(tmp_path):
    (tmp_path / "name.gzip.part").write_bytes(b"half of a much longer file" * 100)
    store = CompressedFiles(tmp_path, 1 << 20)
    assert store.add("name.gzip", gzip.compress, b"data")
    made = until(lambda: store.find("name.gzip"), "it is made")
    assert gzip.decompress(made) == b"data"


# --- what is kept, and what is not


def test_an_apps_own_files_are_not_kept(files):
    style, mine = files.folder / "www" / "style.css", files.folder / "www" / "lib" / "mine.js"
    for path, file in (("/style.css", style), ("/lib/mine.js", mine)):
        for number in range(2):
            file.write_text(f"/* {number} */\n" * 300)
            reply = fetch(files, path)
            assert plain(reply) == file.read_bytes()
            assert reply.assigned in ("app1", "app2"), "it is answered like any other request"
            assert "Cache-Control" not in reply.headers


def test_an_apps_own_files_are_kept_where_named(site_of):
    site = files_site(site_of, cache={"paths": ["/style.css", "/img/"]})
    for path in ("/style.css", "/img/logo.svg", "/img/photo.bin"):
        file = site.folder / "www" / path[1:]
        before = file.read_bytes()
        kept = best(site, path)
        until(lambda path=path: _is_settled(site, path), "nginx has written it")
        file.write_text("new\n" * 500)
        assert plain(best(site, path)) == before == plain(kept)
        assert kept.set_cookies == []
        assert kept.headers["Cache-Control"] == "no-cache", "browsers ask whether theirs is the last"
        assert fetch(site, path, If_None_Match=kept.headers["ETag"]).status == 304
    assert fetch(site, "/img/photo.bin").headers["Content-Encoding"] is None


def test_without_cache_nothing_is_kept(site_of):
    site = files_site(site_of, cache=False)
    file = site.folder / "own" / "own.js"
    for number in range(2):
        file.write_text(f"// {number}\n" * 500)
        reply = fetch(site, "/lib/own-1.0/own.js")
        assert plain(reply) == file.read_bytes()
        assert reply.assigned in ("app1", "app2")
    assert "proxy_cache" not in site.conf.read_text()
    assert not (site.run_dir / "cache").exists()


def test_an_app_below_a_path_has_its_files_kept(site_of):
    site = site_of(
        {
            "app": {"target": ECHO, "workers": 1},
            "files": {"target": "app.py", "path": "/foo/", "workers": 1},
        },
        cache={"paths": ["/foo/style.css"]},
    )
    write_files(site)
    site.start()
    for path in ("/foo/lib/own-1.0/own.js", "/foo/style.css"):
        best(site, path)
        os.kill(site.pid("files1"), signal.SIGSTOP)
        assert fetch(site, path).status == 200
        os.kill(site.pid("files1"), signal.SIGCONT)


def test_an_app_that_is_not_shinys_has_nothing_kept(site):
    """Its lib/ is a path like any other: cookies, methods, conditions and websockets work."""
    path = "/lib/jquery-3.6.0/jquery.min.js"
    first, second = (site.ask(path, cookie="sticky=app2", headers={"X-Number": str(n)}) for n in (1, 2))
    assert (first.json["headers"]["x-number"], second.json["headers"]["x-number"]) == ("1", "2")
    assert first.worker == second.worker == "app2"
    assert first.set_cookies == []
    new = site.ask(path)
    assert new.assigned == new.worker
    posted = site.ask(path, method="POST", body=b"x" * 10, cookie="sticky=app1")
    assert (posted.worker, posted.json["size"]) == ("app1", 10)
    socket = site.websocket("/lib/ws", cookie="sticky=app4")
    socket.send("hello")
    assert "hello" in [socket.recv(), socket.recv()]  # it tells first who it is
    socket.close()


def test_missing_files_are_missing_and_not_remembered(files):
    assert fetch(files, "/lib/own-1.0/more.js").status == 404
    path, _ = new_file(files, "more.js")
    assert fetch(files, path).status == 200


def test_an_interpreter_without_brotli_compresses_with_gzip(site_of):
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    site = site_of({"app": {"target": "app.py", "workers": 1, "python": "venv"}})
    write_files(site)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", site.folder / "venv"], check=True)
    inside = next((site.folder / "venv" / "lib").glob("python*/site-packages"))
    (inside / "own.pth").write_text(packages + "\n")
    for module in ("brotli", "zstandard"):
        (inside / f"{module}.py").write_text(f"raise ImportError('{module} is not in this environment')\n")
    site.start()
    original = (site.folder / "own" / "own.js").read_bytes()
    for accept, encoding in ((BROWSER, "gzip"), ("zstd, gzip", "gzip"), ("br", None)):
        reply = fetch(site, "/lib/own-1.0/own.js", accept)
        assert (reply.headers["Content-Encoding"], plain(reply)) == (encoding, original)


# --- what is made for each request


def test_pages_and_json_are_compressed_on_the_fly(files, site):
    page = fetch(files, "/")
    assert page.headers["Content-Encoding"] == "gzip"
    assert b'id="files"' in plain(page)
    assert b'id="files"' in fetch(files, "/", None).body
    long = fetch(site, "/?print=" + "x" * 2000)
    assert long.headers["Content-Encoding"] == "gzip"
    assert json.loads(plain(long))["query"].startswith("print=xxx")


def test_a_compressed_stream_arrives_piece_by_piece(site, tmp_path):
    go = tmp_path / "go"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    connection.request("GET", f"/?chunks={go}", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.headers["Content-Encoding"] == "gzip"
    decoder, text, began = zlib.decompressobj(31), b"", time.monotonic()
    while text != b"first" and time.monotonic() - began < PATIENCE:
        text += decoder.decompress(response.read1())
    assert text == b"first", "the first piece is here before the second is made"
    Path(go).touch()
    assert decoder.decompress(response.read()) == b"second"
    connection.close()
