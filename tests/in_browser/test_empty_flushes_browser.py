"""A page notices nothing of what Shiny leaves out: all that it hears and shows is the same with every message."""

import pytest
from playwright.sync_api import expect

from support.browser import POLLING, Visitor
from support.matrix import neighbours
from support.real_site import APPS, Site
from support.shiny_session import ShinySession

APP = {"target": str(APPS / "noticing.py"), "workers": 1}

# Notes what Shiny tells the page's scripts, each change of a class by which it shows that something is at work, and
# how many messages come in all.
NOTE = """
window.noticed = [];
window.empties = 0;
const events = ['busy', 'idle', 'outputinvalidated', 'recalculating', 'recalculated', 'value', 'error', 'connected',
    'sessioninitialized', 'disconnected', 'updateinput', 'bound', 'unbound'];
const classes = { recalculating: new Set(), 'shiny-busy': new Set() };
function note(what, of) {
    noticed.push(`${what} ${of}`);
}
function look() {
    for (const [name, had] of Object.entries(classes)) {
        for (const element of document.querySelectorAll('.' + name)) {
            if (!had.has(element)) { had.add(element); note(`+${name}`, element.id); }
        }
        for (const element of had) {
            if (!element.classList.contains(name)) { had.delete(element); note(`-${name}`, element.id); }
        }
    }
}
document.addEventListener('DOMContentLoaded', () => {
    for (const name of events) {
        $(document).on(`shiny:${name}`, event => note(name, event.target.id ?? ''));
    }
    $(document).on('shiny:message', event => {
        const { values, errors, inputMessages } = event.message;
        const empty = values && !Object.keys({...values, ...errors}).length && !inputMessages.length;
        if (empty) empties += 1;
        else note('message', Object.keys(event.message).join());
    });
});
new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
"""


@pytest.fixture(scope="module")
def site():
    """The same app, once as it comes, and once with all messages."""
    with Site({"app": APP, "all": {**APP, "path": "/all/", "empty_flushes": True}}) as shared:
        yield shared.start()


def use(page):
    """Go through all that the app has; gives what the page shows in between."""
    shown = []

    def settle(*texts):
        for output, text in texts:
            expect(page.locator(output)).to_have_text(text)
        expect(page.locator("html.shiny-busy")).to_have_count(0)
        expect(page.locator(".recalculating:not(#computed, #task_result)")).to_have_count(0)
        shown.append(page.locator(".shiny-text-output").all_inner_texts())

    settle(("#outcome", "It went well."), ("#flushes", "flushed: 0"))
    for how, text in (("cancel", "It went well."), ("error", "an error"), ("cancel", "an error"), ("silent", "")):
        page.locator("#how").select_option(how)
        page.wait_for_function("how => Shiny.shinyapp.$inputValues.how === how", arg=how, polling=POLLING)
        settle(("#outcome", text))
    page.locator("#compute").click()
    settle(("#computed", "computed 1"))
    page.locator("#start").click()
    settle(("#task_result", "task 1 is done"))
    expect(page.locator("#start")).to_be_enabled()
    page.locator("#choose").click()
    settle(("#outcome", "It went well."))
    page.locator("#tell").click()
    settle((".inserted", "inserted"), (".modal-body", "a modal"), ("#flushes", "flushed: 1"))
    shown += page.locator(".shiny-notification-content-text").all_inner_texts()
    shown.append(page.locator("#well").is_visible())
    return shown


@pytest.mark.slow
def test_a_page_hears_and_shows_the_same_with_and_without_the_messages_that_say_nothing(site, browser):
    empties, seen = {}, {}
    for path in ("/", "/all/"):
        visitor = Visitor(browser)
        with ShinySession(site.port, path) as neighbour, neighbours() as crowd:
            crowd.append(neighbour)
            page = visitor.open(f"http://127.0.0.1:{site.port}{path}", NOTE)
            shown = use(page)
            empties[path] = page.evaluate("empties")
            seen[path] = shown, page.evaluate("noticed")
        visitor.leave()
        assert [text for text in visitor.complaints if "/favicon.ico" not in text] == []
    assert seen["/"] == seen["/all/"]
    assert empties["/"] < empties["/all/"] / 2, "there was something to leave out"
