"""Fixtures that several test files share."""

import compileall
import signal

import hypothesis
import pytest

from support.real_site import ROOT, Site

# How long an example takes says nothing on a machine that has other things to do.
hypothesis.settings.register_profile(
    "loaded", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("loaded")


def pytest_configure(config: pytest.Config) -> None:
    """Compile what each launcher and worker loads, also where Python is told to keep no bytecode; heed Ctrl-C.

    A shell lets what it runs in the background ignore that, and so would what tests start, and end by it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # one process does it for all
        compileall.compile_dir(ROOT / "shiny_sticky", quiet=2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run all tests of a file that share a site or a browser; the others go where there is time."""
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        if any(fixture.scope == "module" for found in fixtures for fixture in found):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition(".py")[0]))


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
