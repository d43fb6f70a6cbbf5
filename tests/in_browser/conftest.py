"""What tests in a browser share: the browser, a visitor with a profile of its own, a network that can be cut."""

import pytest

from support.browser import Visitor, chromium
from support.cutting_proxy import CuttingProxy
from support.tab import session_id


@pytest.fixture(scope="module")
def browser():
    with chromium() as shared:
        yield shared


@pytest.fixture
def visitor(browser):
    visitor = Visitor(browser)
    yield visitor
    visitor.leave()


@pytest.fixture
def network(site):
    with CuttingProxy(site.port) as proxy:
        yield proxy


@pytest.fixture
def page(network, visitor):
    """The app's page behind that network, with its session begun; its visitor leaves before the network does."""
    page = visitor.open(f"http://127.0.0.1:{network.port}/")
    session_id(page)
    return page
