"""--reload: whoever writes an app sees each edit in the open page, without doing anything for it."""

import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.browser import Visitor, chromium
from support.real_site import ECHO, Site, until
from support.tab import session_id
from support.waiting import running

APP = """
import os
from shiny import App, render, ui

app_ui = ui.page_fluid(ui.h1("Version 1"), ui.input_text("name", "Name"), ui.output_text("pid"))

def server(input, output, session):
    @render.text
    def pid():
        return str(os.getpid())

app = App(app_ui, server)
"""


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": "app.py", "workers": 2}}) as site:
        (site.folder / "app.py").write_text(APP)
        yield site.start("run", "--reload")


@pytest.fixture(scope="module")
def page(site):
    with chromium() as browser:
        page = Visitor(browser).open(f"http://127.0.0.1:{site.port}/")
        expect(page.locator("h1")).to_have_text("Version 1")
        expect(page.locator("#pid")).to_have_text(re.compile(r"\d"))
        yield page


def edit(site: Site, heading: str, ending: str = "") -> None:
    save(site, APP.replace("Version 1", heading) + ending)


def save(site: Site, code: str) -> None:
    """Save the app as many editors do: in one step."""
    new = site.folder / "app.py.new"
    new.write_text(code)
    new.replace(site.folder / "app.py")


def test_an_edit_shows_in_the_open_page_and_the_old_process_leaves(site, page):
    old = int(page.locator("#pid").inner_text())
    edit(site, "Another version")
    expect(page.locator("h1")).to_have_text("Another version")
    expect(page.locator("#pid")).to_have_text(re.compile(r"\d"))
    assert int(page.locator("#pid").inner_text()) != old
    until(lambda: not running(old), "no session of the old code keeps its process")
    assert site.says(r"^app\.py has changed$") == ["app.py has changed"]


def test_a_broken_edit_says_why_and_what_serves_serves_on(site, page):
    edit(site, "A good version")
    expect(page.locator("h1")).to_have_text("A good version")
    session = session_id(page)
    edit(site, "A broken version", "import numpie\n")
    site.says("The deploy has failed; what served before serves on. App app: ")
    site.says("No module named 'numpie'")
    assert session_id(page) == session
    edit(site, "A mended version")
    expect(page.locator("h1")).to_have_text("A mended version")


def test_an_app_that_does_not_import_at_the_start_is_waited_for(site_of):
    site = site_of({"app": {"target": "app.py", "workers": 1}})
    code = site.folder / "app.py"
    code.write_text("import numpie\n")

    def mended() -> list[str]:
        """It is being saved until that is noticed; whoever watches begins a moment after saying so."""
        save(site, Path(ECHO).read_text())
        return site.said(r"^app\.py has changed$")

    def mend() -> None:
        site.says("^It is tried again when a file of the app changes")
        until(mended, "the launcher notices")

    writer = threading.Thread(target=mend)
    writer.start()
    site.start("run", "--reload")
    writer.join()
    assert site.said("^ModuleNotFoundError: No module named 'numpie'$")
    assert site.ask().status == 200


def test_what_is_no_source_deploys_nothing(site, page):
    before = site.incarnations()
    (site.folder / "data.csv").write_text("1,2\n")
    (site.folder / "__pycache__").mkdir(exist_ok=True)
    (site.folder / "__pycache__" / "cached.py").write_text("")
    (site.run_dir / "some.html").write_text("")
    (site.folder / "style.css").write_text("h1 { color: red }")
    site.says(r"^style\.css has changed$")
    assert not site.said("(data|cached|some).* changed")
    until(lambda: before.keys().isdisjoint(site.incarnations()), "that one deploys")


def test_new_settings_are_deployed(site, page):
    site.settings["apps"]["app"]["workers"] = 3
    site.write()
    until(lambda: (site.run_dir / "app3.sock").exists(), "there is a third worker")


def test_a_restarted_worker_keeps_the_session_and_the_page(site, page):
    """The script compares releases, not processes."""
    site.says("^Deployed 3 workers")
    until(
        lambda: page.locator("#pid").inner_text() in [str(site.pid(worker)) for worker in site.workers()],
        "the page is back",
    )
    expect(page.locator("#pid")).to_have_text(str(site.pid(session_id(page).partition(".")[0])))
    session = session_id(page)
    worker = session.partition(".")[0]
    with page.expect_websocket() as again:
        site.restart(worker)
    again.value.wait_for_event("framereceived")
    page.locator("#name").fill("Ann")
    assert session_id(page) == session
