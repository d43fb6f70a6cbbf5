"""What reaches a page while the server is at work: progress, the busy indicator, ticks, tasks, a chat's words."""

from itertools import pairwise

from playwright.sync_api import expect

from support.browser import POLLING
from support.matrix import as_under_shiny_run
from support.tab import text_of

BAR = "() => document.querySelector('.shiny-notification .progress-bar')?.style.width || null"
BUSY = "() => document.documentElement.classList.contains('shiny-busy')"
RECALCULATING = "() => document.querySelector('#computed')?.classList.contains('recalculating')"
ANSWER = "() => document.querySelector('.shiny-chat-message:last-child')?.innerText"

# Seconds. What comes at once takes less; what comes bit by bit in tests/apps/features takes more than twice as
# long, so that a browser which is slow to show its beginning does no harm.
A_WHILE = 0.6


def spread(seen):
    """The values that were seen, and whether they came over some time rather than all at once."""
    seconds = [second for second, _ in seen]
    return [value for _, value in seen], seconds[-1] - seconds[0] > A_WHILE


def longest(seen, value):
    """For how many seconds something that was watched had a value, at most."""
    return max((end - begin for (begin, had), (end, _) in pairwise(seen) if had == value), default=0)


@as_under_shiny_run("progress.py", also=("crowded",))
def test_progress_shows_each_step_when_it_is_made(tab):
    page = tab.open(bar=BAR)
    expect(page.locator("#at_first")).to_have_text("ready")
    page.locator("#sync").click()
    expect(page.locator("#computed")).to_have_text("computed 1")
    expect(page.locator(".shiny-notification")).to_have_count(0)  # it fades, and hides the next bar meanwhile
    in_sync_code = tab.seen("bar")
    yield
    page.locator("#awaiting").click()
    expect(page.locator("#awaited")).to_have_text("awaited 1")
    expect(page.locator(".shiny-notification")).to_have_count(0)
    in_async_code = tab.seen("bar")[len(in_sync_code) :]
    page.locator("#sync").click()
    expect(page.locator("#computed")).to_have_text("computed 2")
    again = tab.seen("bar")[len(in_sync_code) + len(in_async_code) :]
    expect(page.locator(".shiny-notification")).to_have_count(0)
    return [spread(seen) for seen in (in_sync_code, in_async_code, again)]


@as_under_shiny_run("progress.py", quick=True, also=("crowded",))
def test_the_page_shows_that_it_is_busy_at_its_first_load_and_at_each_computation(tab):
    page = tab.open(busy=BUSY, recalculating=RECALCULATING)
    expect(page.locator("#at_first")).to_have_text("ready")
    at_first = tab.seen("busy")
    yield
    page.locator("#sync").click()
    expect(page.locator("#computed")).to_have_text("computed 1")
    expect(page.locator("html.shiny-busy")).to_have_count(0)
    later = tab.seen("busy")[len(at_first) - 1 :]
    return {
        "busy at first": longest(at_first, True) > A_WHILE,
        "busy again": longest(later, True) > A_WHILE,
        "recalculating": longest(tab.seen("recalculating"), True) > A_WHILE,
        "spinners": page.locator("html[data-shiny-busy-spinners]").count(),
    }


@as_under_shiny_run("clocks.py", also=("crowded",))
def test_invalidate_later_ticks_on_and_leaves_none_out(tab):
    def goes_on(by):
        began = int(text_of(page.locator("#ticks")))
        page.wait_for_function(
            f"Number(document.querySelector('#ticks').innerText) >= {began + by}", polling=POLLING
        )

    page = tab.open(ticks="() => document.querySelector('#ticks')?.innerText")
    goes_on(by=5)
    yield
    goes_on(by=10)
    ticks = [int(tick) for _, tick in tab.seen("ticks") if tick]
    return {later - earlier for earlier, later in pairwise(ticks)}


@as_under_shiny_run("clocks.py")
def test_poll_and_file_reader_show_all_sessions_what_one_has_written(tab):
    def write(note):
        page.locator("#note").fill(note)
        page.locator("#write").click()
        for viewer in (page, other):
            expect(viewer.locator("#polled")).to_have_text(f"polled: {note}")
            expect(viewer.locator("#read")).to_have_text(f"read: {note}")
        return [viewer.locator(id).inner_text() for viewer in (page, other) for id in ("#polled", "#read")]

    page = tab.open()
    other = tab.another()
    first = write("first")
    yield
    return first, write("second")


@as_under_shiny_run("extended_task.py", also=("crowded",))
def test_an_extended_task_leaves_the_session_free_and_can_be_cancelled(tab):
    page = tab.open(status="() => document.querySelector('#status')?.innerText || null")
    button, status = page.locator("#start"), page.locator("#status")
    button.click()
    expect(status).to_have_text("running")
    page.locator("#more").click()
    expect(page.locator("#count")).to_have_text("1")
    yield
    still = status.inner_text()
    page.locator("#finish").click()
    expect(page.locator("#result")).to_have_text("task 1 is done")
    expect(button).to_be_enabled()
    button.click()
    expect(button).to_be_disabled()
    page.locator("#cancel").click()
    expect(status).to_have_text("cancelled")
    expect(button).to_be_enabled()
    return still, [value for _, value in tab.seen("status")]


@as_under_shiny_run("chat.py", also=("crowded",))
def test_a_chat_answers_word_by_word(tab):
    def ask(question):
        earlier = len(tab.seen("answer"))
        page.locator("#chat [role=textbox]").fill(question)
        page.locator("#chat [role=textbox]").press("Enter")
        answer = page.locator(".shiny-chat-message").last
        expect(answer).to_contain_text(f"{question} and that is all")
        came, over_time = spread(tab.seen("answer")[earlier:])
        return answer.inner_text(), len(came) >= 4, over_time

    page = tab.open(answer=ANSWER)
    expect(page.locator("#chat")).to_contain_text("What do you want to know?")
    first = ask("this")
    expect(page.locator("#messages")).to_have_text("2 messages")
    yield
    second = ask("and this")
    expect(page.locator("#messages")).to_have_text("4 messages")
    return first, second, page.locator("#chat strong").all_inner_texts()
