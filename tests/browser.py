"""Headless Chromium, and visitors in it, whose pages must have nothing to complain about."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")

# It may run as root, needs no graphics card, and talks to nobody but the pages' server.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Milliseconds that the browser gets for whatever is waited for; a busy machine needs them.
PATIENCE = 20_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; Playwright's own is not downloaded."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; scripts/setup --tests does that")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, timeout=3 * PATIENCE)
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser of their own: no cookies at first, none shared with others.

    Every error and warning that a page logs is noted, and every exception that it does not catch. Libraries that
    Shiny ships may call themselves deprecated; that is none of an app's business.
    """

    def __init__(self, browser: Browser) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context()
        self.context.set_default_timeout(PATIENCE)
        self.context.on("console", self._note)
        self.context.on("weberror", lambda found: self.complaints.append(f"uncaught: {found.error}"))

    def _note(self, message: ConsoleMessage) -> None:
        deprecated = message.type == "warning" and message.text.startswith("DEPRECATED: ")
        if message.type in ("error", "warning", "assert") and not deprecated:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def open(self, url: str) -> Page:
        """Open a page in a new tab; the head of its answer has come when this returns, the rest is on its way."""
        page = self.context.new_page()
        response = page.goto(url, wait_until="commit")
        assert response.status == 200, f"{url}: {response.status}"
        return page

    def cookies(self) -> dict[str, dict]:
        """What the browser has stored: name to value, path and the rest."""
        return {cookie["name"]: cookie for cookie in self.context.cookies()}

    def leave(self) -> None:
        """Close all tabs. What they complained of is known for sure from here on."""
        self.context.close()
