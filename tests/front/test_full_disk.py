"""A full disk: every page loads, what nginx has kept is served on, and a deploy does not throw that away."""

import os
import re
import socket

import brotli
import pytest

from support.real_site import APPS, ROOT, Site, until
from support.small_disk import small_disk

BROWSER = {"Accept-Encoding": "gzip, br"}


@pytest.fixture
def disk(site_of):
    """The demo, with its run_dir on a small disk that has room for what is kept."""
    site = site_of({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 2}})
    with small_disk(site.run_dir, 24) as disk:
        try:
            yield site.start(), disk
        finally:
            site.__exit__()


def loads(site: Site) -> bool:
    """Load the page with all its files, as a browser does; each must come whole."""
    html = site.ask("/", headers={"Accept-Encoding": "identity"}).body.decode()
    paths = re.findall(r'(?:src|href)="(lib/[^"]+)"', html)
    assert len(paths) >= 10
    for path in paths:
        reply = site.ask(f"/{path}", headers=BROWSER)
        assert reply.status == 200
        assert reply.headers["Content-Encoding"] != "br" or brotli.decompress(reply.body)
    return True


def kept(site: Site) -> int:
    """How many files nginx keeps."""
    return sum(file.is_file() and "." not in file.name for file in (site.run_dir / "cache").rglob("*"))


def test_pages_load_on_a_full_disk(disk):
    site, small = disk
    small.fill()
    assert loads(site)
    assert kept(site) == 0, "nothing can be written"
    small.free()
    until(lambda: loads(site) and kept(site) >= 10, "and then it can")


def test_a_reload_on_a_full_disk_leaves_the_cache_that_works(disk):
    site, small = disk
    until(lambda: loads(site) and kept(site) >= 10, "files are kept")
    before = kept(site)
    small.fill()
    failed = site.command("reload", str(site.config))
    assert failed.returncode != 0
    assert "No space left on device" in failed.stderr
    assert str(site.run_dir) in failed.stderr
    assert kept(site) >= before
    assert loads(site)
    small.free()
    assert "Deployed 2 workers" in site.reload()
    assert loads(site)


def test_what_is_not_kept_needs_no_disk(site_of):
    """A large file for a slow client: nginx must not put aside on a full disk what the client does not take yet."""
    site = site_of({"app": {"target": "app.py", "workers": 1}}, cache={"paths": ["/img/"]})
    (site.folder / "app.py").write_text((APPS / "files_app.py").read_text())
    (site.folder / "own").mkdir()
    (site.folder / "www" / "img").mkdir(parents=True)
    large = os.urandom(20 << 20)
    (site.folder / "www" / "img" / "large.bin").write_bytes(large)
    with small_disk(site.run_dir, 8) as small:
        try:
            site.start()
            small.fill()
            with socket.create_connection(("127.0.0.1", site.port), timeout=60) as slow:
                slow.sendall(b"GET /img/large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                until(lambda: slow.recv(1, socket.MSG_PEEK), "it comes")
                until(lambda: site.ask("/").status == 200, "others are served meanwhile")
                answer = b"".join(iter(lambda: slow.recv(1 << 20), b""))
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(large)
        finally:
            site.__exit__()
