"""In Chromium, a session outlives its connection: nothing is lost, doubled or out of order, and nobody sees more than a line."""

import pytest

from support.browser import Visitor, chromium
from support.cutting_proxy import CuttingProxy
from support.real_site import ROOT, Site, until
from support.tab import session_id

COUNTING = str(ROOT / "tests" / "apps" / "counting_app.py")


@pytest.fixture(scope="module")
def browser():
    with chromium() as shared:
        yield shared


@pytest.fixture(scope="module")
def site(browser):
    with Site({"app": {"target": COUNTING, "workers": 2}}) as shared:
        yield shared.start()


@pytest.fixture
def network(site):
    with CuttingProxy(site.port) as proxy:
        yield proxy


@pytest.fixture
def page(browser, network):
    visitor = Visitor(browser)
    page = visitor.open(f"http://127.0.0.1:{network.port}/")
    session_id(page)
    yield page
    visitor.leave()


def count(page) -> int:
    return page.evaluate("counted.length")


def nothing_is_missing(page) -> None:
    """Compare what was sent with what has come, in both directions."""
    before = count(page)
    until(lambda: count(page) > before, "numbers come")
    page.evaluate("Shiny.setInputValue('report', Math.random())")
    page.wait_for_function("window.report")
    counted, ticks = page.evaluate("[counted, report.ticks]")
    assert counted == list(range(len(counted)))
    assert ticks == list(range(len(ticks))) and len(ticks) > 1
    assert not page.locator("#shiny-disconnected-overlay").count()


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_cut_connection_is_replaced(page, network, how):
    session = session_id(page)
    for _ in range(3):
        before = count(page)
        until(lambda before=before: count(page) > before + 2, "numbers come")
        assert network.cut(how)
    nothing_is_missing(page)
    assert session_id(page) == session
