"""In Chromium, a session outlives its connection: nothing is lost, doubled or moved, and nothing is to be seen."""

import contextlib

import psutil
import pytest

from support.browser import POLLING
from support.real_site import ROOT, Site, until
from support.sessions_of_pages import nothing_is_missing, numbers_come
from support.tab import process, session_id

COUNTING = str(ROOT / "tests" / "apps" / "counting_app.py")


@pytest.fixture(scope="module")
def site(browser):
    with Site({"app": {"target": COUNTING, "workers": 2}}) as shared:
        yield shared.start()


def open_sessions(site) -> int:
    """How many the launcher knows of."""
    return sum(site.sessions(worker) for worker in site.workers())


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_cut_connection_is_replaced(page, network, how):
    session = session_id(page)
    for _ in range(3):
        numbers_come(page)
        assert network.cut(how)
    nothing_is_missing(page, session)


@pytest.mark.slow
def test_a_connection_that_has_fallen_silent_is_replaced(page, network):
    """Nobody says that it is gone: a Wi-Fi that was left, a laptop that has another address."""
    session = session_id(page)
    numbers_come(page)
    assert network.cut("silence")
    nothing_is_missing(page, session)


@pytest.mark.slow
def test_some_time_without_a_network(page, network):
    session = session_id(page)
    numbers_come(page)
    page.evaluate(
        """document.addEventListener("shiny-sticky:connection", ({ detail }) => {
            if (detail.state === "lost") window.seen_before ??= counted.length;
        })"""
    )
    network.disconnect("rst")
    page.wait_for_function("window.seen_before !== undefined", polling=POLLING)
    page.locator("#n").fill("12")
    page.wait_for_timeout(3000)  # the time in which there is no network, not one that is waited for
    assert page.evaluate("counted.length - seen_before") <= 1
    network.reconnect()
    page.get_by_text("12 squared is 144").wait_for()
    nothing_is_missing(page, session)


def test_cut_while_a_deploy_replaces_everything(site, page, network):
    session = session_id(page)
    network.disconnect("rst")
    site.reload()
    network.reconnect()
    nothing_is_missing(page, session)
    assert process(page) not in [site.incarnation(worker) for worker in site.workers()]


def test_cut_by_nginx_that_is_killed(site, page):
    session = session_id(page)
    numbers_come(page)
    master = psutil.Process(site.nginx_pid())
    for each in (master, *master.children()):
        with contextlib.suppress(psutil.NoSuchProcess):  # without its master
            each.kill()
    nothing_is_missing(page, session)


def test_a_closed_tab_has_no_session_any_more(site, visitor, page):
    numbers_come(page)
    before = open_sessions(site)
    page.close(run_before_unload=True)
    until(lambda: open_sessions(site) == before - 1, "the session is over")


@pytest.mark.slow
def test_a_page_that_is_loaded_anew_has_a_new_session(site, page):
    session, before = session_id(page), open_sessions(site)
    page.reload()
    assert session_id(page) != session
    until(lambda: open_sessions(site) == before, "the old session is over")


def test_a_killed_worker_ends_the_session_as_ever(site, page):
    """What then comes is Shiny's to say."""
    numbers_come(page)
    worker = process(page)
    site.kill(worker.partition(".")[0])
    page.locator("#shiny-disconnected-overlay").wait_for(state="attached")


@pytest.mark.slow
def test_a_page_from_the_back_forward_cache_has_its_session(site, page):
    session = session_id(page)
    numbers_come(page)
    page.evaluate("window.kept = true")
    page.goto("about:blank")
    page.go_back()
    if not page.evaluate("window.kept"):
        pytest.skip("this Chromium keeps no such page")
    nothing_is_missing(page, session)
