"""What a page's style sheets import is told to browsers with the page, so that they need not find it out first."""

from urllib.parse import urljoin

import pytest
from playwright.sync_api import expect

from support.browser import Visitor, chromium
from support.real_site import ROOT, Site

# An app whose page has a style sheet that imports several, each in its own way.
IMPORTING = """
from pathlib import Path
from htmltools import HTMLDependency
from shiny import App, ui

here = Path(__file__).parent / "sheets"
source = {"subdir": str(here)}
sheets = HTMLDependency("sheets", "1.0", source=source, stylesheet={"href": "all.css"}, all_files=True)
app = App(ui.page_fluid(sheets, "Hello."), None)
"""
ALL_CSS = """@charset "utf-8"; /* more of it: */
@import url("deeper/one.css"); @import 'two.css' screen;
@import url(https://elsewhere.example/three.css);
@import "../../../four.css";
p { color: red; } /* @import "five.css"; */
"""


@pytest.fixture(scope="module")
def site():
    demo = str(ROOT / "app" / "app.py")
    apps = {
        "app": {"target": demo, "workers": 2},
        "foo": {"target": demo, "workers": 1, "path": "/foo/"},
        "own": {"target": "own.py", "workers": 1, "path": "/own/"},
    }
    with Site(apps) as shared:
        sheets = shared.folder / "sheets"
        sheets.mkdir()
        (sheets / "all.css").write_text(ALL_CSS)
        (shared.folder / "own.py").write_text(IMPORTING)
        yield shared.start()


def linked(site: Site, path: str) -> list[str]:
    """What a page is sent with, as addresses."""
    links = (site.ask(path).headers["Link"] or "").split(", ")
    assert all(link.endswith(">; rel=preload; as=style") for link in links)
    return [urljoin(path, link[1 : link.index(">")]) for link in links]


@pytest.mark.parametrize("path", ["/", "/foo/"])
def test_a_page_is_sent_with_what_its_style_sheets_import(site, path):
    for _ in range(2):
        (sheet,) = linked(site, path)
        assert sheet.startswith(f"{path}lib/bootstrap-")
        reply = site.ask(sheet)
        assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, "text/css")


def test_nothing_is_linked_but_what_is_imported_from_the_apps_own_files(site):
    sheets = [link for link in linked(site, "/own/") if "bootstrap" not in link]
    assert sheets == ["/own/lib/sheets-1.0/deeper/one.css", "/own/lib/sheets-1.0/two.css"]


def test_no_other_answer_has_links(site):
    for path in ("/lib/", "/websocket/", "/session/x/y/z"):
        assert site.ask(path).headers["Link"] is None
    assert site.ask("/", method="HEAD").headers["Link"] is None


def test_a_browser_asks_for_it_at_once_and_once(site):
    asked = []
    with chromium() as browser:
        visitor = Visitor(browser)
        visitor.context.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page = visitor.open(f"http://127.0.0.1:{site.port}/")
        expect(page.locator("#sticky-result")).to_have_attribute("data-state", "passed")
        visitor.leave()
        assert visitor.complaints == []
    assert asked.count("font.css") == 1
    assert asked.index("font.css") < asked.index("bootstrap.min.css")
