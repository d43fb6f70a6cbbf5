"""In Chromium on a network of its own: it is unplugged, its address changes, and the machine sleeps."""

import os
import signal
import time

import psutil
import pytest

from support.browser import PATIENCE, Visitor, chromium
from support.far_network import FarNetwork
from support.real_site import LAUNCHER, ROOT, Site, until
from support.sessions_of_pages import nothing_is_missing, numbers_come
from support.tab import process, session_id

COUNTING = str(ROOT / "tests" / "apps" / "counting_app.py")

# Milliseconds: a silent network is noticed after 14 s, and a busy machine may need several attempts.
LONG = 3 * PATIENCE

# Seconds without a network, and for which the browser's machine sleeps.
AWAY = float(os.environ.get("AWAY_SECONDS", "20"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def far():
    with FarNetwork() as network:
        yield network


@pytest.fixture(scope="module")
def browser(far, tmp_path_factory):
    with chromium(lambda path: far.far(path, tmp_path_factory.mktemp("far"))) as there:
        yield there


@pytest.fixture(scope="module")
def site(far):
    with Site({"app": {"target": COUNTING, "workers": 2}}) as site:
        site.settings["listen"] = f"{far.address}:{site.port}"
        site.write()
        yield site.start(program=far.near(LAUNCHER))


@pytest.fixture
def page(browser, far, site):
    visitor = Visitor(browser)
    page = visitor.open(f"http://{far.address}:{site.port}/")
    session_id(page)
    numbers_come(page)
    yield page
    visitor.leave()


def pass_by(seconds: float) -> None:
    """The time in which there is no network, not one that is waited for."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, "it is over", 2 * seconds + 60)


def test_an_unplugged_network_comes_back(page, far):
    session = session_id(page)
    far.unplug()
    pass_by(AWAY)
    far.plug_in()
    nothing_is_missing(page, session, LONG)


def test_unplugged_while_a_deploy_replaces_everything(page, far, site):
    session = session_id(page)
    far.unplug()
    site.reload()
    far.plug_in()
    nothing_is_missing(page, session, LONG)
    assert process(page) not in [site.incarnation(worker) for worker in site.workers()]


def test_the_address_of_the_browser_changes(page, far):
    session = session_id(page)
    for _ in range(3):
        numbers_come(page, timeout=LONG)
        far.move()
    nothing_is_missing(page, session, LONG)


def test_the_machine_of_the_browser_sleeps(page):
    """The network's other end hears nothing of it."""
    session = session_id(page)
    stopped = [each for each in psutil.Process().children(recursive=True) if "chrom" in each.name()]
    assert stopped
    for each in stopped:
        each.send_signal(signal.SIGSTOP)
    try:
        pass_by(AWAY)
    finally:
        for each in stopped:
            each.send_signal(signal.SIGCONT)
    nothing_is_missing(page, session, LONG)
