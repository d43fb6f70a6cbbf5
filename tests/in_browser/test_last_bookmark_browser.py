"""In Chromium, an app with bookmarks has its state back when its process is gone: in its URL, or on the server."""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support.browser import POLLING
from support.real_site import ROOT, Site, until
from support.tab import process, session_id

APP = ROOT / "tests" / "apps" / "bookmarking.py"


@pytest.fixture(scope="module")
def site(browser):
    """An app with each kind of bookmarks, each in a folder of its own."""
    apps = {
        store: {
            "target": f"{store}/app.py",
            "workers": 2,
            "path": f"/{store}/",
            "reconnect": "inputs",
            "env": {"BOOKMARK_STORE": store},
        }
        for store in ("url", "server")
    }
    with Site(apps, deploy={"drain_timeout": 1}) as shared:
        for store in apps:
            (shared.folder / store).mkdir()
            shutil.copy(APP, shared.folder / store / "app.py")
        yield shared.start()


def seen(page: Page, text: str) -> None:
    """What the page's process says of its session."""
    page.wait_for_function("Shiny.shinyapp.config.sessionId", polling=POLLING)
    expect(page.locator("#seen")).to_have_text(f"{process(page)}: {text}, ?own=1")


def open_page(visitor, site: Site, store: str) -> Page:
    """A page with something in each place that there is."""
    page = visitor.open(f"http://127.0.0.1:{site.port}/{store}/?own=1")
    session_id(page)
    expect(page.locator("#inner")).to_have_value("as made")
    page.locator("#name").fill("Ada")
    page.locator("#inner").fill("as typed")
    for _ in range(2):
        page.locator("#add").click()
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"})
    seen(page, "Ada, as typed, 2")
    return page


def kept(site: Site, page: Page) -> dict:
    """What the bookmark on disk has that the page knows of."""
    name = (page.evaluate("Shiny.shinyapp.$socket.bookmark") or "_state_id_=none").removeprefix("_state_id_=")
    folder = site.run_dir / "kept" / "server" / "bookmarks" / name
    if not folder.exists():
        return {}
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("input", "values")}


def is_on_disk(site: Site, page: Page) -> None:
    wanted = {"input": {"name": "Ada", "inner": "as typed", "add": 2}, "values": {"added": 2}}
    until(lambda: kept(site, page) == wanted, "the last bookmark is on disk")


def test_a_bookmark_in_the_url_brings_the_state_back(site, visitor):
    page = open_page(visitor, site, "url")
    page.wait_for_function("Shiny.shinyapp.$socket.bookmark?.includes('inner=%22as+typed%22')", polling=POLLING)
    page.wait_for_function("Shiny.shinyapp.$socket.bookmark.includes('added=2')", polling=POLLING)
    session, url = session_id(page), page.url
    site.kill(process(page).partition(".")[0])
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    seen(page, "Ada, as typed, 2")
    expect(page.locator("#inner")).to_have_value("as typed")
    assert page.url == url


def test_a_bookmark_on_the_server_is_found_by_the_next_process(site, visitor):
    page = open_page(visitor, site, "server")
    is_on_disk(site, page)
    session = session_id(page)
    site.kill(process(page).partition(".")[0])
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    seen(page, "Ada, as typed, 2")
    assert not (site.folder / "server" / "shiny_bookmarks").exists()


@pytest.mark.slow
def test_also_after_a_deploy_from_another_folder(site, visitor):
    page = open_page(visitor, site, "server")
    is_on_disk(site, page)
    session = session_id(page)
    release = site.folder / "release2"
    release.mkdir()
    shutil.copy(APP, release / "app.py")
    site.settings["apps"]["server"].update(target=str(Path("release2") / "app.py"), preload=False)
    site.write()
    site.reload()
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    seen(page, "Ada, as typed, 2")


def test_a_closed_page_leaves_no_bookmark(site, visitor):
    page = open_page(visitor, site, "server")
    is_on_disk(site, page)
    before = set((site.run_dir / "kept" / "server" / "bookmarks").iterdir())
    page.close(run_before_unload=True)
    until(lambda: any(not folder.exists() for folder in before), "its bookmarks are removed")
