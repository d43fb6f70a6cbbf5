"""In Chromium, who comes to an app that is full is told so, keeps the place in line, and gets in by itself."""

import pytest
from playwright.sync_api import Page, expect

from support.browser import Visitor, without_cookies
from support.real_site import Site, until
from support.tab import process, session_id

# It shows the query that the page has told it.
APP = """
from shiny import App, render, ui

def server(input, output, session):
    @render.text
    def query():
        return f"asked for {session.clientdata.url_search()}"

app = App(ui.page_fluid(ui.output_text("query")), server)
"""


@pytest.fixture
def site():
    """Two workers with a place each."""
    with Site({"app": {"target": "app.py", "workers": 2, "path": "/deep/", "max_sessions": 1}}) as site:
        (site.folder / "app.py").write_text(APP)
        yield site.start()


def address(site: Site) -> str:
    return f"http://127.0.0.1:{site.port}/deep/?own=1&_inputs_&a=%22b+c%22#part"


def fill(site: Site, visitors: list[Visitor]) -> list[Page]:
    """Take all places."""
    pages = [visitor.open(address(site)) for visitor in visitors]
    assert len({process(page) for page in pages}) == len(pages), "each worker has one"
    until(lambda: sum(site.sessions(worker) for worker in site.workers()) == len(pages), "the launcher knows")
    return pages


def come(visitor: Visitor, site: Site) -> Page:
    """Come when there is no place."""
    page = visitor.context.new_page()
    assert page.goto(address(site), wait_until="commit").status == 503
    expect(page.get_by_role("heading")).to_have_text("All places are taken at the moment")
    return page


def is_in(page: Page, site: Site) -> None:
    """The app is there, and nothing of the wait is left in its address."""
    session_id(page)
    expect(page.locator("#query")).to_have_text("asked for ?own=1&_inputs_&a=%22b+c%22")
    assert page.url == address(site)


def complaints(visitors: list[Visitor]) -> list[str]:
    """What pages complained of, but for what is so: there was no place, or no launcher; and no icon, as ever."""
    return [
        text
        for visitor in visitors
        for text in visitor.complaints
        if "status of 503" not in text and "/favicon.ico" not in text
    ]


@pytest.mark.slow
def test_who_waits_is_told_the_place_in_line_and_then_sees_the_app_by_itself(site, browser):
    visitors = [Visitor(browser) for _ in range(4)]
    first, second = fill(site, visitors[:2])
    third, fourth = come(visitors[2], site), come(visitors[3], site)
    expect(third.get_by_role("status")).to_have_text("You are next.")
    expect(fourth.get_by_role("status")).to_have_text("You are number 2 in line.")

    fourth.reload()
    expect(fourth.get_by_role("status")).to_have_text("You are number 2 in line.")
    assert "sticky-ticket=t." in fourth.url
    assert first.reload().status == 200, "who is in stays in"
    is_in(first, site)

    first.close()
    is_in(third, site)
    expect(fourth.get_by_role("status")).to_have_text("You are next.")
    second.close()
    is_in(fourth, site)
    assert fourth.reload().status == 200
    is_in(fourth, site)
    for visitor in visitors:
        visitor.leave()
    assert complaints(visitors) == []


@pytest.mark.slow
def test_also_where_cookies_are_blocked_and_where_no_launcher_tells_the_place(site, browser, tmp_path):
    visitors = [Visitor(browser) for _ in range(2)]
    pages = fill(site, visitors)
    with_none = Visitor(without_cookies(browser, tmp_path / "profile"))
    page = come(with_none, site)
    expect(page.get_by_role("status")).to_have_text("You are next.")
    pages[0].close()
    is_in(page, site)
    again = come(with_none, site)
    expect(again.get_by_role("status")).to_have_text("You are next.")
    site.kill_launcher()
    pages[1].close()
    is_in(again, site)
    for visitor in [*visitors, with_none]:
        visitor.leave()
    assert complaints([*visitors, with_none]) == []
