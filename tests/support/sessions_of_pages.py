"""What a page of tests/apps/counting_app.py has got and sent, compared with what its session has."""

from __future__ import annotations

from playwright.sync_api import Page

from support.browser import PATIENCE, POLLING
from support.tab import session_id


def numbers_come(page: Page, more: int = 2, timeout: float = PATIENCE) -> None:
    """Wait until the session has sent some more; for so many milliseconds at most."""
    before = page.evaluate("counted.length")
    page.wait_for_function(f"counted.length >= {before + more}", timeout=timeout, polling=POLLING)


def nothing_is_missing(page: Page, session: str, timeout: float = PATIENCE) -> None:
    """Compare what was sent with what has come, in both directions, in the session that it was.

    Args:
        page: of the session.
        session: its id.
        timeout: milliseconds that it gets to be heard of.
    """
    numbers_come(page, timeout=timeout)
    page.evaluate("Shiny.setInputValue('report', Math.random())")
    page.wait_for_function("window.report", polling=POLLING)
    counted, ticks = page.evaluate("[counted, report.ticks]")
    assert counted == list(range(len(counted)))
    assert ticks == list(range(len(ticks))) and len(ticks) > 1
    assert session_id(page) == session
    assert not page.locator("#shiny-disconnected-overlay").count()
