"""How sessions end and fail, and what they tell of themselves: errors, test mode, traces."""

import secrets

from playwright.sync_api import expect

from support.browser import POLLING
from support.matrix import as_under_shiny_run
from support.real_site import until

# What the page shows when its session has ended, and it does not connect again.
OVERLAY = "#shiny-disconnected-overlay"


def named(tab):
    """Open the app with a name that the session has for itself, which it leaves behind at its end."""
    name = f"visitor-{secrets.token_hex(8)}"
    page = tab.open()
    page.locator("#name").fill(name)
    page.locator("#message").click()
    page.wait_for_function("name => document.title === `Noted ${name}`", arg=name, polling=POLLING)
    return page, name


def noted(page, name):
    """How often an ended session's name has been left, as another session sees it, once it has been."""
    expect(page.locator("#ended")).to_contain_text(name)
    return page.locator("#ended").inner_text().split().count(name)


@as_under_shiny_run("lifetime.py")
def test_a_session_that_closes_itself_is_over_and_says_so(tab):
    page, name = named(tab)
    expect(page.locator("#flushed")).to_have_text("flushed: 1")
    other = tab.another()
    expect(other.locator("#ended")).to_contain_text("ended:")
    expect(other.locator("#ended")).not_to_contain_text(name)
    yield
    page.locator("#close").click()
    expect(page.locator(OVERLAY)).to_be_visible()
    return noted(other, name), other.locator(OVERLAY).count()


@as_under_shiny_run("lifetime.py")
def test_a_session_ends_with_its_tab(tab):
    page, name = named(tab)
    other = tab.another()
    expect(other.locator("#ended")).to_contain_text("ended:")
    yield
    page.close()
    return noted(other, name)


@as_under_shiny_run("lifetime.py")
def test_an_effect_that_fails_ends_its_session_alone(tab):
    page, name = named(tab)
    other = tab.another()
    yield
    page.locator("#fail").click()
    expect(page.locator(OVERLAY)).to_be_visible()
    until(lambda: any("This effect fails." in line for line in tab.printed), "the server says why")
    return noted(other, name), other.locator(OVERLAY).count()


def outcomes(page, kinds):
    """What the outputs of tests/apps/features/errors.py show, and how, as they fare well, badly and so on."""

    def show():
        return [
            (output.inner_text(), "shiny-output-error" in output.get_attribute("class"))
            for output in (page.locator("#text"), page.locator("#markup"))
        ]

    shown = []
    for kind in kinds:
        page.locator("#how").select_option(kind)
        expect(page.locator("#asked")).to_have_text(f"asked: {kind}")
        expect(page.locator("html.shiny-busy")).to_have_count(0)
        shown.append((kind, show()))
    return shown


@as_under_shiny_run("errors.py", also=("crowded",))
def test_errors_of_outputs_are_shown_as_they_are(tab):
    page = tab.open()
    first = outcomes(page, ["well", "error", "silent"])
    yield
    return first, outcomes(page, ["safe", "well", "cancel", "error"])


@as_under_shiny_run("errors_sanitized.py")
def test_sanitized_errors_say_nothing_and_a_debugged_server_prints_all(tab):
    page = tab.open()
    first = outcomes(page, ["well", "error", "silent"])
    yield
    second = outcomes(page, ["safe", "well", "cancel", "error"])
    for said in ("SEND: {", "RECV: {", "1234"):
        until(lambda said=said: any(said in line for line in tab.printed), f"the server prints {said}")
    return first, second


@as_under_shiny_run("in_test_mode.py", env={"SHINY_TESTMODE": "1"})
def test_test_mode_tells_inputs_outputs_and_exports(tab):
    def snapshot():
        url = "Shiny.shinyapp.getTestSnapshotBaseUrl({fullUrl: true}) + '&input=1&output=1&export=1&format=json'"
        return page.evaluate(f"async () => await (await fetch({url})).json()")

    page = tab.open()
    expect(page.locator("#shown")).to_have_text("square: 9")
    first = snapshot()
    yield
    page.locator("#n").fill("5")
    expect(page.locator("#shown")).to_have_text("square: 25")
    return first, snapshot()


@as_under_shiny_run("telemetry.py")
def test_traces_are_exported_with_what_shiny_and_the_app_have_done(tab):
    page = tab.open()
    for span in ("session_start", "output square", "own work"):
        expect(page.locator("#spans")).to_contain_text(span)
    yield
    page.locator("#n").fill("7")
    expect(page.locator("#square")).to_have_text("square: 49")
    expect(page.locator("#spans")).to_contain_text("reactive_update")
    return page.locator("#spans").inner_text()
