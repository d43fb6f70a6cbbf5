"""What a page of tests/apps/counting_app.py has got and sent, compared with what its session has."""

from __future__ import annotations

from playwright.sync_api import Page

from support.tab import session_id


def numbers_come(page: Page, more: int = 2) -> None:
    """Wait until the session has sent some more."""
    before = page.evaluate("counted.length")
    page.wait_for_function(f"counted.length >= {before + more}")


def nothing_is_missing(page: Page, session: str) -> None:
    """Compare what was sent with what has come, in both directions, in the session that it was."""
    numbers_come(page)
    page.evaluate("Shiny.setInputValue('report', Math.random())")
    page.wait_for_function("window.report")
    counted, ticks = page.evaluate("[counted, report.ticks]")
    assert counted == list(range(len(counted)))
    assert ticks == list(range(len(ticks))) and len(ticks) > 1
    assert session_id(page) == session
    assert not page.locator("#shiny-disconnected-overlay").count()
