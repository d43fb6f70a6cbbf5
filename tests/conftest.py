"""Fixtures that several test files share."""

import pytest

from support.real_site import Site


@pytest.fixture
def site_of():
    """A factory of sites; all are ended with the test."""
    sites = []

    def make(*args, **settings) -> Site:
        sites.append(Site(*args, **settings))
        return sites[-1]

    yield make
    for site in sites:
        site.__exit__()


@pytest.fixture(scope="module")
def site():
    """Four echo workers, shared by the tests of a file that leave it as they find it."""
    with Site() as shared:
        yield shared.start()
