"""A tab with an app in it, as the scenarios of tests/in_browser/features use it."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from playwright.sync_api import Error, Locator, Page

from support.browser import PATIENCE, POLLING, Visitor
from support.real_site import until

# Notes when a value changes: as a page is changed by messages, each is told of after the message that changed it.
WATCH = """([name, value]) => {
    const seen = ((window.seen ??= {})[name] = []);
    const look = () => {
        const now = value();
        if (now != null && now !== seen.at(-1)?.[1]) seen.push([performance.now() / 1000, now]);
    };
    new MutationObserver(look).observe(document, {
        subtree: true, childList: true, attributes: true, characterData: true
    });
}"""


class Tab:
    """One app in a visitor's tab, and others beside it.

    Attributes:
        page: the one that was opened last.
        url: of the app.

    Args:
        visitor: whose tab it is.
        url: of the app.
        printed: where the server's lines are gathered.
    """

    page: Page

    def __init__(self, visitor: Visitor, url: str, printed: list[str]) -> None:
        self.url = url
        self._visitors = [visitor]
        self._pages: list[Page] = []
        self._printed, self._printed_before = printed, len(printed)
        self._complained_before = len(visitor.complaints)

    def open(self, path: str = "", **watched: str) -> Page:
        """Open the app, and wait for its session: what is clicked before that is clicked for nobody.

        Args:
            path: below its own.
            watched: JavaScript functions whose values are noted from the first moment on; see `seen`.
        """
        script = "".join(f"({WATCH})([{name!r}, {value}]);\n" for name, value in watched.items())
        self.page = self._visitors[0].open(self.url + path, script)
        self._pages.append(self.page)
        session_id(self.page)
        return self.page

    def seen(self, name: str) -> list[tuple[float, Any]]:
        """Each value that was watched, in order, with the second at which it came."""
        return [(second, value) for second, value in self.page.evaluate(f"seen[{name!r}]")]

    def another(self, url: str = "") -> Page:
        """The app as another visitor sees it, in a session in another process where there are several.

        A visitor without cookies has no way to be a different one; that is another tab.
        """
        mine = process(self.page)
        for _ in range(8):
            self._visitors.append(self._visitors[0].other())
            page = self._visitors[-1].open(url or self.url)
            self._pages.append(page)
            if process(page) != mine or not mine:
                return page
        raise AssertionError(f"all sessions are in {mine}")

    def leave(self) -> None:
        """Close the tab, and whatever else was opened: what those pages complained of is known from here on."""
        while self._pages:
            self._pages.pop().close()

    @property
    def printed(self) -> list[str]:
        """What the server has printed since this was made."""
        return self._printed[self._printed_before :]

    @property
    def complaints(self) -> set[str]:
        """What the consoles of all pages complained of, without what differs between servers and sessions."""
        heard = [text for visitor in dict.fromkeys(self._visitors) for text in visitor.complaints]
        plain = (text.replace(self.url, "/") for text in heard[self._complained_before :])
        # The browser asks for an icon when it likes, once a visitor, and no app here has one.
        return {re.sub(r"(session/|nonce=)[\w.-]+", r"\1…", text) for text in plain if "/favicon.ico" not in text}


def session_id(page: Page) -> str:
    """The id of a page's session, as the browser knows it, once it has begun."""
    try:
        page.wait_for_function("window.Shiny?.shinyapp?.config?.sessionId", polling=POLLING)
    except Error as error:
        with contextlib.suppress(Error):
            error.add_note(f"{page.url} shows: {page.locator('body').inner_text(timeout=5000)[:500]}")
        raise
    return page.evaluate("Shiny.shinyapp.config.sessionId")


def process(page: Page) -> str:
    """The process that has a page's session: its name, and none under `shiny run`, where there is one only."""
    return session_id(page).rpartition("-")[0]


def text_of(locator: Locator) -> str:
    """What an output shows, once it shows something."""
    until(lambda: locator.inner_text().strip(), f"{locator} has a text", PATIENCE / 1000)
    return locator.inner_text().strip()
