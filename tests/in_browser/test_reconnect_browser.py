"""In Chromium, a page whose process is gone begins a new session with its inputs: by itself, when asked, or not."""

import hashlib

import pytest
from playwright.sync_api import Page, expect

from support.browser import POLLING, Visitor, without_cookies
from support.real_site import ROOT, Site, until
from support.tab import process, session_id

APP = str(ROOT / "tests" / "apps" / "reconnecting.py")

# Notes what becomes of the connection; from `held = true` on, no new session begins by the clock.
WATCH = """
window.states = [];
document.addEventListener("shiny-sticky:connection", (event) => states.push(event.detail.state));
window.held = false;
const setTimer = window.setTimeout;
window.setTimeout = (act, ...given) => {
    const put_off = held && new Error().stack.includes("Reconnection.tryLater");
    return setTimer(put_off ? () => {} : act, ...given);
};
"""


@pytest.fixture(scope="module")
def site(browser):
    modes = {"inputs": "/", "ask": "/ask/", "off": "/off/"}
    apps = {mode: {"target": APP, "workers": 2, "path": path, "reconnect": mode} for mode, path in modes.items()}
    with Site(apps) as shared:
        yield shared.start()


def open_page(visitor: Visitor, port: int, path: str = "/") -> Page:
    """A page in which something was typed, and a button pressed twice."""
    page = visitor.open(f"http://127.0.0.1:{port}{path}", WATCH)
    session_id(page)
    page.locator("#name").fill("Ada")
    for times in (1, 2):
        page.locator("#add").click()
        expect(page.locator("#seen")).to_have_text(f"Ada, added {times} of {times}")
    return page


def kill_process(site: Site, page: Page) -> None:
    worker, _, _ = process(page).partition(".")
    site.back(worker, site.kill(worker))


def notice(page: Page, kind: str):
    return page.locator(f"shiny-sticky-notices .{kind}")


def begins_anew(page: Page, session: str) -> None:
    """There is a new session with the page's inputs; what the server alone knew is gone, buttons are pressed."""
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    expect(page.locator("#seen")).to_have_text("Ada, added 1 of 2")
    expect(page.locator("#name")).to_have_value("Ada")
    expect(page.locator("#shiny-disconnected-overlay")).to_have_count(0)
    expect(page.locator("shiny-sticky-notices section > div")).to_have_count(0)
    page.locator("#add").click()
    expect(page.locator("#seen")).to_have_text("Ada, added 2 of 3")


def test_a_killed_process_is_followed_by_a_new_session(site, visitor):
    page = open_page(visitor, site.port)
    session = session_id(page)
    kill_process(site, page)
    begins_anew(page, session)
    assert page.evaluate("states") == ["connected", "lost", "ended", "reconnecting", "connected"]


@pytest.mark.slow
def test_also_where_cookies_are_blocked(site, browser, tmp_path):
    visitor = Visitor(without_cookies(browser, tmp_path))
    page = open_page(visitor, site.port)
    session = session_id(page)
    kill_process(site, page)
    begins_anew(page, session)
    visitor.leave()


def test_a_process_that_was_killed_while_there_was_no_network(site, visitor, network):
    page = open_page(visitor, network.port)
    session = session_id(page)
    network.disconnect("rst")
    expect(notice(page, "lost")).to_be_visible()
    kill_process(site, page)
    expect(notice(page, "lost")).to_be_visible()
    network.reconnect()
    begins_anew(page, session)


def upload(page: Page, *names: str) -> str:
    """Upload files; gives what the app says of them, behind who says it."""
    files = [{"name": name, "mimeType": "text/plain", "buffer": name.encode()} for name in names]
    page.locator("#file").set_input_files(files)
    told = " ".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()[:8]}" for name in names)
    has_files(page, told)
    return told


def has_files(page: Page, told: str) -> None:
    expect(page.locator("#digests")).to_have_text(f"{process(page)} {told}")


def test_uploaded_files_are_handed_to_the_new_session(site, visitor):
    page = open_page(visitor, site.port)
    upload(page, "first.txt")
    told = upload(page, "one.txt", "two.txt")
    session = session_id(page)
    kill_process(site, page)
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    has_files(page, told)

    told = upload(page, "three.txt")  # and from that session to a third one
    session = session_id(page)
    kill_process(site, page)
    another = f"Shiny.shinyapp.config.sessionId != '{session}'"
    either = f"states.at(-1) == 'reconnectable' || {another}"  # by itself if it was there for long
    page.wait_for_function(either, polling=POLLING)
    page.evaluate("document.dispatchEvent(new Event('shiny-sticky:reconnect'))")
    page.wait_for_function(another, polling=POLLING)
    has_files(page, told)


@pytest.mark.slow
def test_the_end_of_a_drain_is_followed_by_a_new_session(browser, visitor):
    app = {"target": APP, "workers": 1, "reconnect": "inputs"}
    with Site({"app": app}, deploy={"drain_timeout": 1}) as site:
        site.start()
        page = open_page(visitor, site.port)
        told = upload(page, "one.txt")
        session = session_id(page)
        site.reload()
        begins_anew(page, session)
        assert process(page) == site.incarnation("app1")
        has_files(page, told)
        page.close(run_before_unload=True)
        until(lambda: not list(site.run_dir.glob("kept/app/uploads/*/*/*")), "a closed page leaves no file")


def test_the_bar_says_so_and_tries_again_until_there_is_a_new_session(site, visitor, network):
    page = open_page(visitor, network.port)
    session = session_id(page)
    page.evaluate("held = true")
    kill_process(site, page)
    expect(notice(page, "reconnecting")).to_contain_text(
        "Your session has ended. Starting a new one with your inputs…"
    )
    network.disconnect("rst")
    notice(page, "reconnecting").locator("button").click()
    page.wait_for_function("states.filter(state => state == 'reconnecting').length > 1", polling=POLLING)
    expect(notice(page, "ended")).to_have_count(0)
    network.reconnect()
    assert session_id(page) == session
    notice(page, "reconnecting").locator("button").click()
    begins_anew(page, session)


def test_a_button_asks_for_the_new_session(site, visitor):
    page = open_page(visitor, site.port, "/ask/")
    session = session_id(page)
    kill_process(site, page)
    row = notice(page, "reconnectable")
    expect(row.locator("p")).to_have_text("This session has ended. Start a new one with your inputs?")
    expect(page.locator("#shiny-disconnected-overlay")).to_have_count(1)
    expect(notice(page, "ended")).to_have_count(0)
    assert page.evaluate("states.at(-1)") == "reconnectable"
    expect(row.locator("button")).to_have_text("Start")
    row.locator("button").click()
    begins_anew(page, session)


def test_turned_off_it_is_shiny_s_grey_page(site, visitor):
    page = open_page(visitor, site.port, "/off/")
    kill_process(site, page)
    expect(page.locator("#shiny-disconnected-overlay")).to_have_count(1)
    expect(notice(page, "ended").locator("p")).to_have_text("This session has ended.")
    assert not page.locator("shiny-sticky-notices button").count()
    assert page.evaluate("states.at(-1)") == "ended"


@pytest.mark.parametrize("path", ["/", "/ask/"])
def test_a_session_that_the_app_has_closed_is_not_followed_by_one(site, visitor, path):
    page = open_page(visitor, site.port, path)
    page.locator("#close").click()
    expect(notice(page, "ended").locator("button")).to_have_text("Reload")
    assert page.evaluate("states") == ["connected", "ended"]


@pytest.mark.parametrize("path", ["/", "/ask/"])
def test_an_app_may_forbid_it(site, visitor, path):
    page = open_page(visitor, site.port, f"{path}?allow=no")
    kill_process(site, page)
    expect(notice(page, "ended").locator("button")).to_have_text("Reload")
    assert page.evaluate("states.at(-1)") == "ended"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/ask/", "/off/"])
def test_an_app_may_want_it_whatever_the_setting(site, visitor, path):
    page = open_page(visitor, site.port, f"{path}?allow=force")
    session = session_id(page)
    kill_process(site, page)
    begins_anew(page, session)


def test_inputs_that_end_their_process_end_no_third_one_unasked(site, visitor):
    page = open_page(visitor, site.port)
    before = {worker: site.pid(worker) for worker in ("inputs1", "inputs2")}
    page.locator("#deadly").check()
    expect(notice(page, "reconnectable")).to_be_visible()
    assert page.evaluate("states.filter(state => state == 'connected').length") == 2
    for worker, pid in before.items():
        site.back(worker, pid)
