"""A page tells its visitor what goes on: no connection, the end of the session, a new version; else nothing."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from shiny_sticky.worker.middleware.page_scripts import HERE, PARTS, SCRIPT
from support.browser import POLLING, Visitor, without_cookies
from support.cutting_proxy import CuttingProxy
from support.real_site import ROOT, Site
from support.tab import process, session_id

COUNTING = str(ROOT / "tests" / "apps" / "counting_app.py")

# A page whose style sheet reaches for all that there is, that takes scripts and styles of its own server alone, and
# whose app allows Shiny to begin a new session by itself.
LOUD_CSS = "html > *, html > * * { all: unset !important; color: red !important; display: none !important }"
STRICT_APP = """
from pathlib import Path
from shiny import App, ui

def server(input, output, session):
    session.allow_reconnect("force")

page = ui.page_fluid(ui.tags.link(rel="stylesheet", href="loud.css"))
shiny_app = App(page, server, static_assets=Path(__file__).parent)
# Playwright needs eval.
POLICY = (b"content-security-policy", b"default-src 'self'; script-src 'self' 'unsafe-eval'")

async def app(scope, receive, send):
    async def send_strictly(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], POLICY]}
        await send(message)

    await shiny_app(scope, receive, send_strictly)
"""

NO_BAR = "!document.querySelector('shiny-sticky-notices')"

# From which line on a page's script is the notices'.
FIRST_LINE = SCRIPT.count(b"\n") - (HERE / PARTS[-1]).read_bytes().count(b"\n") + 1

# Notes each timer that they set.
WATCH_TIMERS = (
    f"const FIRST_LINE = {FIRST_LINE};"
    """
window.timers = [];
for (const name of ["setTimeout", "setInterval", "requestAnimationFrame"]) {
    const before = window[name];
    window[name] = (...given) => {
        const lines = new Error().stack.matchAll(/page\\.js:(\\d+)/g);
        if ([...lines].some(([, line]) => line >= FIRST_LINE)) timers.push(name);
        return before(...given);
    };
}
"""
)

# From `held = true` on, nobody tries to connect anew by the clock.
HOLD_RETRIES = """
window.held = false;
const setTimer = window.setTimeout;
window.setTimeout = (act, ...given) => {
    const put_off = held && new Error().stack.includes("tryLater");
    return setTimer(put_off ? () => {} : act, ...given);
};
"""


@pytest.fixture(scope="module")
def site(browser):
    """Two apps; a deploy gives open sessions no more than the time at which they are warned."""
    apps = {
        "app": {
            "target": COUNTING,
            "workers": 2,
            "path": "/foo/",
            "notices": {"texts": {"reconnect": "Once <more>"}},
        },
        "strict": {"target": "strict.py", "workers": 2},
    }
    with Site(apps, deploy={"drain_timeout": 60}) as shared:
        (shared.folder / "strict.py").write_text(STRICT_APP)
        (shared.folder / "loud.css").write_text(LOUD_CSS)
        yield shared.start()


def bar(page: Page) -> Locator:
    return page.locator("shiny-sticky-notices")


def notice(page: Page, kind: str) -> Locator:
    return bar(page).locator(f".{kind}")


def button(page: Page, kind: str, name: str) -> Locator:
    return notice(page, kind).locator("button", has_text=name)


def open_page(visitor: Visitor, port: int, path: str = "/foo/", script: str = "") -> Page:
    page = visitor.open(f"http://127.0.0.1:{port}{path}", script)
    session_id(page)
    return page


def a_lost_connection_is_told(page: Page, network: CuttingProxy) -> None:
    session = session_id(page)
    network.disconnect("rst")
    expect(notice(page, "lost").locator("p")).to_have_text("Connection lost. Reconnecting…")
    expect(notice(page, "lost").locator("span")).to_have_text(re.compile("^[1-5] s$"))
    network.reconnect()
    expect(notice(page, "lost")).to_have_count(0)

    page.evaluate("held = true")
    network.disconnect("rst")
    expect(notice(page, "lost")).to_be_visible()
    network.reconnect()
    button(page, "lost", "Try now").click()
    expect(notice(page, "lost")).to_have_count(0)
    assert session_id(page) == session
    assert not page.locator("#shiny-disconnected-overlay").count()


def test_a_lost_connection_is_told_until_it_is_back(visitor, network):
    a_lost_connection_is_told(open_page(visitor, network.port, script=HOLD_RETRIES), network)


@pytest.mark.slow
def test_also_where_cookies_are_blocked(browser, network, tmp_path):
    visitor = Visitor(without_cookies(browser, tmp_path))
    a_lost_connection_is_told(open_page(visitor, network.port, script=HOLD_RETRIES), network)
    visitor.leave()


def test_a_page_with_which_all_is_well_has_no_bar_and_no_timer(visitor, network):
    page = open_page(visitor, network.port, script=WATCH_TIMERS)
    session = session_id(page)
    assert page.evaluate("[...document.scripts].some(script => script.src.endsWith('/page.js'))")
    before = page.evaluate("counted.length")
    page.wait_for_function(f"counted.length > {before}", polling=POLLING)
    assert not bar(page).count()
    assert page.evaluate("timers") == []

    network.cut("rst")  # and is back before anybody need know
    page.wait_for_function(f"counted.length > {page.evaluate('counted.length')}", polling=POLLING)
    assert session_id(page) == session
    assert page.evaluate("timers.length") <= 1
    expect(bar(page).locator("section")).to_be_empty()


def test_the_end_of_a_session_is_told_with_a_way_on(site, visitor):
    page = open_page(visitor, site.port)
    session = session_id(page)
    site.kill(process(page).partition(".")[0])
    expect(notice(page, "reconnectable").locator("p")).to_contain_text("This session has ended.")
    expect(page.locator("#shiny-disconnected-overlay")).to_have_count(1)
    button(page, "reconnectable", "Once <more>").click()
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    expect(bar(page).locator("section")).to_be_empty()


def test_a_deploy_is_told_and_leads_to_the_new_version_when_asked(site, visitor):
    page, other = open_page(visitor, site.port), open_page(visitor, site.port)
    session = session_id(page)
    site.reload()
    expect(notice(page, "new_version").locator("p")).to_have_text("A new version is ready.")
    expect(notice(page, "leaving").locator("span")).to_have_text(re.compile("^([1-5]?[0-9]|60) s$"))
    expect(notice(page, "new_version")).to_be_hidden()  # the warning asks for the same
    notice(page, "leaving").locator(".close").click()
    expect(notice(page, "leaving")).to_have_count(0)
    expect(notice(page, "new_version")).to_be_visible()
    assert session_id(page) == session
    page.locator("#n").fill("12")
    page.get_by_text("12 squared is 144").wait_for()

    button(page, "new_version", "Switch").click()
    page.wait_for_function("window.Shiny?.shinyapp?.config?.sessionId && " + NO_BAR, polling=POLLING)
    assert process(page) in [site.incarnation(worker) for worker in site.workers()]
    expect(notice(other, "new_version")).to_have_count(1)


def test_shiny_begins_a_new_session_by_itself_where_the_app_allows_that(site, visitor):
    page = open_page(visitor, site.port, "/")
    session = session_id(page)
    page.wait_for_function(
        "Shiny.shinyapp.$allowReconnect",
        polling=POLLING,
    )  # the app says so a moment after the session's beginning
    page.evaluate("""() => {
        window.shown = 0;
        const root = () => document.querySelector("shiny-sticky-notices")?.shadowRoot;
        setInterval(() => { shown += root()?.querySelectorAll(".ended").length ?? 0; }, 50);
    }""")
    site.kill(process(page).partition(".")[0])
    page.wait_for_function(f"Shiny.shinyapp.config.sessionId != '{session}'", polling=POLLING)
    assert page.evaluate("shown") == 0


def test_neither_the_app_s_style_sheet_nor_its_policy_reaches_the_bar(visitor, network):
    page = open_page(visitor, network.port, "/")
    assert page.evaluate("getComputedStyle(document.body).display") == "none"
    network.disconnect("rst")
    expect(notice(page, "lost")).to_be_visible()
    style = (
        "row => { const { color, fontSize, display } = getComputedStyle(row); return [color, fontSize, display]; }"
    )
    assert notice(page, "lost").evaluate(style) == ["rgb(31, 35, 40)", "14px", "flex"]
    complaints = [text for text in visitor.complaints if "page.js" in text]
    assert [text for text in complaints if "WebSocket connection to" not in text] == [], (
        "the network is gone, no more"
    )


def test_what_is_said_is_shown_by_all_pages_as_text_until_it_is_taken_away(site, visitor):
    page = open_page(visitor, site.port)
    text = "Back at <b>5 pm</b> / 17 Uhr? ü"
    assert site.command("say", f"  {text}\n", str(site.config)).returncode == 0
    expect(notice(page, "announcement").locator("p")).to_have_text(text)
    later = open_page(visitor, site.port, "/")
    expect(notice(later, "announcement").locator("p")).to_have_text(text)
    notice(page, "announcement").locator(".close").click()
    expect(notice(page, "announcement")).to_have_count(0)

    site.restart("app1")  # a new process knows of it, too
    visitor.context.add_cookies([{"name": "sticky", "value": "app1", "url": f"http://127.0.0.1:{site.port}/foo/"}])
    newer = open_page(visitor, site.port)
    assert process(newer) == site.incarnation("app1")
    expect(notice(newer, "announcement").locator("p")).to_have_text(text)

    assert site.command("say", "Soon", str(site.config)).returncode == 0
    for each in (page, later, newer):
        expect(notice(each, "announcement").locator("p")).to_have_text("Soon")
    assert site.command("say", "--clear", str(site.config)).returncode == 0
    for each in (page, later, newer):
        expect(notice(each, "announcement")).to_have_count(0)


# Where a row of the bar is, and in it the text and the buttons.
BOXES = """row => {
    const box = (part) => part.getBoundingClientRect().toJSON();
    return [row, row.querySelector("p"), row.querySelector("nav")].map(box);
}"""

SHOW = "detail => document.dispatchEvent(new CustomEvent('shiny-sticky:notice', { detail }))"


@pytest.mark.parametrize("locale", ["en", pytest.param("fr", marks=pytest.mark.slow)])
def test_on_a_phone_a_button_stands_beside_its_text_and_covers_none(browser, site, locale):
    """Two buttons may stand below it, where that is long."""
    visitor = Visitor(browser.new_context(locale=locale, viewport={"width": 390, "height": 844}))
    page = open_page(visitor, site.port, "/")
    for kind in ("announcement", "stopping", "leaving", "new_version"):
        page.evaluate(SHOW, {"kind": kind, "text": "The dashboards are closed on Saturday. " * 4, "seconds": 59})
        row, text, buttons = notice(page, kind).evaluate(BOXES)
        assert row["left"] >= 0 and row["right"] <= 390
        assert text["top"] >= row["top"] and buttons["bottom"] <= row["bottom"]
        beside, below = buttons["left"] >= text["right"], buttons["top"] >= text["bottom"]
        assert beside or (below and kind in ("leaving", "new_version"))
        notice(page, kind).locator(".close").click()
    visitor.leave()


@pytest.mark.slow
def test_a_stop_is_told_with_the_seconds_until_it_ends_the_session(visitor):
    with Site({"app": {"target": COUNTING, "workers": 1}}, stop={"drain_timeout": 15}) as stopped:
        page = open_page(visitor, stopped.start().port, "/")
        stopped.launcher.terminate()
        expect(notice(page, "stopping").locator("p")).to_have_text("This site is about to stop. Save your work.")
        expect(notice(page, "stopping").locator("span")).to_have_text(re.compile("^1?[0-9] s$"))
        expect(notice(page, "leaving")).to_be_hidden()
        expect(notice(page, "reconnectable")).to_be_visible()
        expect(notice(page, "stopping")).to_have_count(0)


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [(["x" * 301], "301 characters; a bar in a page has room for 300"), (["Hi", "--clear"], "Say a text")],
)
def test_what_is_to_be_said_has_to_be_there_and_to_fit(site, arguments, mistake):
    refused = site.command("say", *arguments, str(site.config))
    assert refused.returncode
    assert mistake in refused.stderr


@pytest.mark.parametrize(
    ("locale", "language", "text"),
    [("ja-JP", "ja", "接続が切れました"), ("pl", "en", "Connection lost")],
)
def test_it_speaks_the_browser_s_language(browser, network, locale, language, text):
    visitor = Visitor(browser.new_context(locale=locale))
    page = open_page(visitor, network.port)
    network.disconnect("rst")
    expect(notice(page, "lost")).to_contain_text(text)
    expect(bar(page).locator("section")).to_have_attribute("lang", language)
    visitor.leave()
