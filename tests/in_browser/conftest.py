"""What tests in a browser share: the browser, a visitor with a profile of its own, a network that can be cut."""

import pytest

from support.browser import Visitor, chromium
from support.cutting_proxy import CuttingProxy


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
