"""The files of what a session draws come from every worker, whichever process has drawn it."""

import os
import re
import shutil
import sys

import pytest

from support.copies import copy_packages, copy_project
from support.dynamic_ui import APP, WORKERS, draw, fetch, session_at, site_with
from support.real_site import Site, until

# What the parts of Shiny's that are drawn need, and the page had not.
DRAWN = {"shiny-data-frame-output", "htmltools-fill", "prism-code-editor", "bslib-code-editor"}


def everybody_serves(site: Site, urls: list[str]) -> None:
    """Each worker has each file, and the same."""
    for url in urls:
        replies = [site.ask(url, cookie=f"sticky={worker}") for worker in WORKERS]
        replies += [site.ask(url) for _ in WORKERS]
        assert {reply.status for reply in replies} == {200}, url
        assert len({reply.body for reply in replies}) == 1, url


def registered(site: Site, app: str = "app") -> set[str]:
    """The processes that have told what they have registered."""
    return {file.stem for file in (site.run_dir / "dependencies" / app).iterdir()}


def processes(site: Site) -> set[str]:
    return {file.stem for file in site.run_dir.glob("*.*.sock")}


WAYS = {
    "cached": {},
    "uncached": {"cache": False},
    "spawned": {"app": {"preload": False}},
    "below": {"app": {"path": "/foo/bar/"}},
}


@pytest.fixture(
    scope="module",
    params=["cached", "below", *(pytest.param(way, marks=pytest.mark.slow) for way in ("uncached", "spawned"))],
)
def site(request):
    """Three workers that have drawn nothing but their page."""
    settings = WAYS[request.param]
    app = {"target": APP, "workers": 3, **settings.get("app", {})}
    with Site({"app": app}, **{key: value for key, value in settings.items() if key != "app"}) as site:
        yield site.start()


def test_every_worker_serves_the_files_of_what_one_of_them_has_drawn(site):
    session = session_at(site, "app2", site.settings["apps"]["app"].get("path", "/"))
    urls = draw(session)
    assert {re.search(r"lib/(.+?)-[0-9]", url)[1] for url in urls} >= DRAWN
    everybody_serves(site, urls)
    session.close()


def test_what_no_process_has_registered_is_not_found(site):
    path = site.settings["apps"]["app"].get("path", "/")
    session = session_at(site, "app1", path)
    (url,) = draw(session, "1.5")
    folder = url.rpartition("/")[0]
    assert site.ask(url, cookie="sticky=app2").status == 200
    for nothing in (
        f"{folder}/other.js",
        f"{folder}/",
        folder,
        f"{folder}/../../own.js",
        f"{folder}/..%2f..%2f..%2fetc/passwd",
        f"{folder}//etc/passwd",
        f"{folder}/%00",
        f"{folder}/{'x' * 300}",
        f"{path}lib/own-1.6/own.js",
        f"{path}lib/own/own.js",
        f"{path}other/own-1.5/own.js",
    ):
        assert site.ask(nothing, cookie="sticky=app2").status in (400, 404), nothing
    assert site.ask(url, cookie="sticky=app2", method="POST").status in (404, 405)
    head = site.ask(url, cookie="sticky=app2", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    session.close()


# --- processes come and go


@pytest.mark.parametrize("replace", [Site.reload, lambda site: site.restart("app1")], ids=["deploy", "restart"])
def test_a_session_that_outlives_its_replacement_gets_the_files_of_what_it_draws(site_of, replace):
    """Also those that had been asked for before, and that nginx has forgotten with the deploy."""
    site = site_with(site_of).start()
    session, early = session_at(site, "app1"), session_at(site, "app1")
    (before,) = draw(early, "1.5")
    assert fetch(site, before).status == 200
    replace(site)
    everybody_serves(site, [before, *draw(session)])
    assert session.output("who") == session.incarnation, "it is still the old one"
    session.close()
    early.close()


def test_a_process_that_is_recycled_leaves_its_sessions_all_they_need(site_of):
    site = site_with(site_of, app={"recycle": {"sessions_served": 1}}).start()
    session = session_at(site, "app1")
    old = session.incarnation
    until(lambda: site.incarnation("app1") != old, "app1 is replaced")
    everybody_serves(site, draw(session))
    session.close()


def test_what_a_process_has_told_goes_with_it_however_it_ends(site_of):
    site = site_with(site_of).start()
    assert registered(site) == processes(site)
    session = session_at(site, "app1")
    old = {session.incarnation, site.incarnation("app2")}
    site.reload()
    killed = site.kill("app3")
    site.back("app3", killed)
    session.close()
    until(lambda: not old & processes(site), "the old ones have ended")
    until(lambda: registered(site) == processes(site), "their notes are removed")
    assert site.stop() == 0
    assert registered(site) == set()


def test_a_page_on_its_way_when_its_process_ends_gets_its_files(site_of):
    """Nothing but the page knows of them: the new code has no such file."""
    site = site_with(site_of, app={"env": {"PAGE": "1.7"}}).start()
    (url,) = re.findall(r'src="(lib/own-[^"]+)"', site.ask(cookie="sticky=app1").body.decode())
    old = processes(site)
    del site.settings["apps"]["app"]["env"]
    site.write()
    site.reload()
    until(lambda: not old & processes(site), "the old ones have ended")
    assert "own-1.7" not in site.ask().body.decode()
    everybody_serves(site, [f"/{url}"])


def test_what_was_told_to_a_launcher_that_was_killed_is_cleared_by_the_next(site_of):
    site = site_with(site_of).start()
    session = session_at(site, "app1")
    site.kill_launcher()
    dead = site.incarnation("app2")
    site.kill("app2")
    site.start()
    assert dead not in registered(site)
    everybody_serves(site, draw(session))
    session.close()


# --- who is told, and who believes it


def test_apps_are_told_nothing_of_each_other(site_of):
    apps = {
        name: {"target": APP, "workers": 1, "path": path} for name, path in (("app", "/"), ("other", "/other/"))
    }
    site = site_of(apps).start()
    session = session_at(site, "app1")
    (url,) = draw(session, "1.5")
    assert site.ask(url).status == 200
    assert site.ask(f"/other{url}").status == 404
    session.close()


def test_strange_notes_are_passed_over(site_of):
    site = site_with(site_of).start()
    folder = site.run_dir / "dependencies" / "app"
    (folder / "a.json").write_text("no json")
    (folder / "b.json").write_text("[1]")
    (folder / "c.json").write_text('{"imported": "x", "folders": [["lib/", "own-1.5"]]}')
    (folder / "d.json").write_text('{"imported": 9e9, "folders": [["lib/", "own-1.5", "tests"]]}')
    (folder / "e.json").symlink_to(folder / "b.json")
    (folder / "f.json").mkdir()
    os.mkfifo(folder / "g.json")
    session = session_at(site, "app1")
    everybody_serves(site, draw(session, "1.5"))
    session.close()
    assert site.stop() == 0
    assert registered(site) == {"f"}, "the launcher leaves what is no file"


def test_where_nothing_can_be_noted_a_page_still_works(site_of):
    """On a full disk, say."""
    site = site_with(site_of).start()
    folder = site.run_dir / "dependencies" / "app"
    folder.rename(site.folder / "elsewhere")
    session = session_at(site, "app1")
    for url in draw(session):
        assert site.ask(url, cookie="sticky=app1").status == 200
    assert site.said("Traceback|Error") == []
    session.close()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_notes_are_the_configured_users_alone(site_of):
    app = {"target": "app.py", "workers": 2, "python": "/usr/bin/python3", "env": {"PYTHONPATH": "packages"}}
    app["start_timeout"] = 180  # each import compiles all of Shiny
    site = site_of({"app": app}, user="nobody")
    shutil.copy(APP, site.folder / "app.py")
    copy_packages(site.folder / "packages", "shiny", "uvicorn")
    site.folder.chmod(0o755)
    own = site.folder / "own"
    own.mkdir()
    own.chmod(0o777)
    app["env"]["OWN_FOLDER"] = str(own)
    site.write()
    site.start(program=[sys.executable, str(copy_project(site.folder / "project"))])
    folder = site.run_dir / "dependencies" / "app"
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (65534, 0o700)
    assert folder.parent.stat().st_uid == 0
    kept = site.folder / "kept"
    kept.write_text("root's")
    incarnation = site.incarnation("app2")
    (folder / f"{incarnation}.json").unlink()
    (folder / f"{incarnation}.json").symlink_to(kept)
    session = session_at(site, "app1")
    (url,) = draw(session, "1.5")
    assert site.ask(url, cookie="sticky=app2").status == 200
    session.close()
    assert site.stop() == 0
    assert kept.read_text() == "root's"


def test_shiny_apps_inside_of_another_app_share_theirs(site_of):
    site = site_of({"app": {"target": "outer.py", "workers": 3}})
    (site.folder / "outer.py").write_text(
        "import runpy\nfrom starlette.applications import Starlette\nfrom starlette.routing import Mount\n"
        f"one, two = (runpy.run_path({APP!r})['app'] for _ in range(2))\n"
        "one.starlette_app.routes.insert(0, Mount('/two', app=two))\n"
        "app = Starlette(routes=[Mount('/one', app=one)])\n"
    )
    site.start()
    for path in ("/one/", "/one/two/"):
        session = session_at(site, "app2", path)
        everybody_serves(site, draw(session))
        session.close()
