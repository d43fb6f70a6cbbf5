"""In Chromium, a button draws what needs files that the page did not have: a sidebar, a table and a code editor."""

import re

import pytest
from playwright.sync_api import Page, expect

from support.browser import POLLING, Visitor, without_cookies
from support.real_site import APPS, Site


@pytest.fixture(params=["no cookies", pytest.param("cookies", marks=pytest.mark.slow)])
def visitor(browser, request, tmp_path):
    """Somebody, whose pages must find all that they ask for."""
    visitor = Visitor(browser if request.param == "cookies" else without_cookies(browser, tmp_path / "profile"))
    missing = []
    visitor.context.on("response", lambda reply: missing.append(reply.url) if reply.status >= 400 else None)
    yield visitor
    visitor.leave()
    assert missing == []
    assert visitor.complaints == []


def connected(visitor: Visitor, site: Site) -> Page:
    """The app in a new tab, with a session."""
    page = visitor.open(f"http://127.0.0.1:{site.port}/")
    expect(page.locator("#who")).to_have_text(re.compile(r"^app\d\.\w+$"))
    return page


def draws_everything(page: Page) -> None:
    process = page.locator("#who").inner_text()
    page.locator("#draw").click()
    expect(page.locator("#side")).to_be_visible()
    expect(page.locator("#code .prism-code-editor")).to_be_visible()
    expect(page.locator("#code .prism-code-editor")).to_contain_text("x = 1")
    page.wait_for_function("customElements.get('shiny-data-frame') !== undefined", polling=POLLING)
    page.wait_for_load_state("networkidle")
    expect(page.locator("#who")).to_have_text(process)


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False])
def test_what_each_worker_draws_gets_its_files(site_of, visitor, cache):
    site = site_of({"app": {"target": str(APPS / "dynamic_ui.py"), "workers": 3}}, cache=cache).start()
    for _ in range(3):
        draws_everything(connected(visitor, site))


@pytest.mark.parametrize(
    "replace",
    [
        pytest.param(Site.reload, id="deploy"),
        pytest.param(lambda site: site.restart("app1"), id="restart", marks=pytest.mark.slow),
    ],
)
def test_a_page_that_is_open_while_its_process_is_replaced_gets_its_files(site_of, visitor, replace):
    site = site_of({"app": {"target": str(APPS / "dynamic_ui.py"), "workers": 2}}).start()
    pages = [connected(visitor, site) for _ in range(3)]
    replace(site)
    for page in pages:
        draws_everything(page)
