"""What nginx keeps is of the code that serves now, however slowly old code answers."""

import contextlib
import os
import sys
import threading
from pathlib import Path

import pytest

from support.copies import copy_packages, copy_project
from support.real_site import Site, until

APP = """
import asyncio, time
from pathlib import Path

VERSION = {version}
HERE = Path(__file__).parent


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"].endswith("asleep") and VERSION == 1:
        (HERE / "asked").touch()
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
    if scope["path"].endswith("stuck") and VERSION == 1:
        (HERE / "asked").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)  # nothing else happens in this process meanwhile
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"version %d" % VERSION}})
"""


def write_app(site: Site, version: int) -> None:
    (site.folder / "app.py").write_text(APP.format(version=version))


def kept(site: Site) -> list[bytes]:
    """What nginx keeps, without what it is about to write."""
    found = []
    for file in (site.run_dir / "cache").rglob("*"):
        with contextlib.suppress(IsADirectoryError, FileNotFoundError):  # nginx has just renamed it
            found.append(file.read_bytes())
    return found


def says(site: Site, path: str) -> bytes:
    return site.ask(path).body


@pytest.fixture
def site(site_of):
    site = site_of({"app": {"target": "app.py", "workers": 1}}, cache={"paths": ["/kept/"]})
    write_app(site, 1)
    return site.start()


@pytest.mark.parametrize("path", ["/kept/asleep", "/kept/stuck"])
def test_a_slow_answer_of_old_code_is_not_kept_after_the_deploy(site, path):
    """The second one's process cannot even take notice of the deploy before it answers."""
    replies = []
    slow = threading.Thread(target=lambda: replies.append(site.ask(path)))
    slow.start()
    until((site.folder / "asked").exists, "the old code is at it")
    write_app(site, 2)
    site.reload()
    Path(site.folder / "go").touch()
    slow.join()
    assert (replies[0].status, replies[0].body) == (200, b"version 1"), "who has asked for it gets it"
    until(lambda: says(site, path) and kept(site), "something is kept")
    assert [says(site, path) for _ in range(3)] == [b"version 2"] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_knows_whether_it_serves_and_has_its_files_kept(site_of):
    app = {"target": "app.py", "workers": 1, "python": "/usr/bin/python3", "env": {"PYTHONPATH": "packages"}}
    site = site_of({"app": app}, user="nobody", cache={"paths": ["/kept/"]})
    write_app(site, 1)
    copy_packages(site.folder / "packages", "uvicorn")
    site.folder.chmod(0o755)
    site.start(program=[sys.executable, str(copy_project(site.folder / "project"))])
    until(lambda: says(site, "/kept/file") and kept(site), "it is kept")


def test_a_deploy_that_fails_before_it_changes_anything_leaves_what_is_kept(site):
    site.ask("/kept/file")
    until(lambda: any(b"version 1" in entry for entry in kept(site)), "it is kept")
    (site.folder / "app.py").write_text("raise RuntimeError('broken')")
    assert site.command("reload", str(site.config)).returncode != 0
    assert any(b"version 1" in entry for entry in kept(site))


def test_what_serving_code_answers_is_kept(site):
    """The tests above would hold for a cache that keeps nothing; a deploy begins it anew."""
    site.ask("/kept/file")
    until(lambda: any(b"version 1" in entry for entry in kept(site)), "it is kept")
    write_app(site, 2)
    site.reload()
    assert says(site, "/kept/file") == b"version 2"
    until(lambda: any(b"version 2" in entry for entry in kept(site)), "it is kept")
