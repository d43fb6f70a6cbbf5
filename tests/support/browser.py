"""Headless Chromium, visitors whose pages must have nothing to complain about, and the demo as they see it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, expect, sync_playwright

from support import waiting
from support.real_site import Site

NAMES = ("chromium", "chromium-browser", "google-chrome")

# It may run as root, needs no graphics card, and talks to nobody but the pages' server.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-gpu-watchdog",  # it would end what draws the pages when a busy machine keeps that waiting
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Milliseconds that the browser gets for whatever is waited for.
PATIENCE = 1000 * waiting.PATIENCE

# Milliseconds between two looks at what is waited for in a page: by the clock, and not with each frame that is
# drawn, as the browser of a busy machine may draw none for long.
POLLING = 50


def program() -> str:
    """The system's Chromium; Playwright's own is not downloaded."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or pytest.skip(f"none of {', '.join(NAMES)} is installed; scripts/setup --tests does that")


@contextlib.contextmanager
def chromium(program_of: Callable[[str], str | Path] = str) -> Iterator[Browser]:
    """A browser, whose visitors have nothing in common.

    Args:
        program_of: gives the program that is started for the browser's.
    """
    path = program_of(program())
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=3 * PATIENCE)
        yield browser
        browser.close()


def without_cookies(browser: Browser, profile: Path) -> BrowserContext:
    """A visitor's browser that blocks all cookies, as its settings page lets people choose; started anew."""
    preferences = {"profile": {"default_content_setting_values": {"cookies": 2}}}  # 2: block
    (profile / "Default").mkdir(parents=True)
    (profile / "Default" / "Preferences").write_text(json.dumps(preferences))
    return browser.browser_type.launch_persistent_context(
        profile, executable_path=program(), args=ARGUMENTS, timeout=3 * PATIENCE
    )


class Visitor:
    """Somebody with a browser of their own: no cookies at first, none shared with others.

    Every error and warning that a page logs is noted, and every exception that it does not catch. Libraries that
    Shiny ships may call themselves deprecated; that is none of an app's business.
    """

    def __init__(self, browser: Browser | BrowserContext) -> None:
        self.complaints: list[str] = []
        self._browser = browser
        self.context = browser.new_context() if isinstance(browser, Browser) else browser
        self.context.set_default_timeout(PATIENCE)
        self.context.on("console", self._note)
        self.context.on("weberror", lambda found: self.complaints.append(f"uncaught: {found.error}"))

    def _note(self, message: ConsoleMessage) -> None:
        deprecated = message.type == "warning" and message.text.startswith("DEPRECATED: ")
        if message.type in ("error", "warning", "assert") and not deprecated:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def other(self) -> Visitor:
        """Somebody else with a browser of the same program. Where that has one visitor only, it is the same one."""
        return Visitor(self._browser) if isinstance(self._browser, Browser) else self

    def open(self, url: str, script: str = "") -> Page:
        """Open a page in a new tab; the head of its answer has come when this returns, the rest is on its way.

        Args:
            url: of the page.
            script: JavaScript that is run before the page's own.
        """
        page = self.context.new_page()
        if script:
            page.add_init_script(script)
        response = page.goto(url, wait_until="commit")
        assert response.status == 200, f"{url}: {response.status}"
        return page

    def cookies(self) -> dict[str, dict]:
        """What the browser has stored: name to value, path and the rest."""
        return {cookie["name"]: cookie for cookie in self.context.cookies()}

    def leave(self) -> None:
        """Close all tabs. What they complained of is known for sure from here on."""
        self.context.close()


class Demo:
    """The demo in a new tab of a visitor's browser, or in a frame of a page that is open."""

    def __init__(
        self, visitor: Visitor, site: Site, app: str = "app", frame: Frame | None = None, port: int = 0
    ) -> None:
        self.visitor = visitor
        self.path = site.settings["apps"][app].get("path", "/")
        self.frame = frame or visitor.open(f"http://127.0.0.1:{port or site.port}{self.path}").main_frame
        self.page = self.frame.page
        self.result = self.frame.locator("#sticky-result")

    def text(self, name: str) -> str:
        """What an output shows, once it shows something."""
        output = self.frame.locator(f"#{name}")
        expect(output).to_have_text(re.compile(r"\S"))
        return output.inner_text()

    @property
    def worker(self) -> str:
        return self.text("worker")

    @property
    def pid(self) -> int:
        return int(self.text("pid"))

    @property
    def cookie(self) -> str:
        """The worker that the cookie names in the visitor's browser."""
        return self.visitor.cookies()["sticky"]["value"]

    def run_again(self) -> None:
        """Start the sticky test anew; what the last one found is gone, so that nobody takes it for the new."""
        self.result.evaluate("result => { result.textContent = ''; result.dataset.state = '' }")
        self.frame.locator("#sticky-run").click()

    def stays(self) -> None:
        """See the sticky test through: 100 requests, all answered by the process that the page shows."""
        sentence = f"100 of 100 requests reached {self.worker} (pid {self.pid})."
        expect(self.result).to_have_text(re.compile(f"^(Failed .*|{re.escape(sentence)})$"))
        assert self.result.inner_text() == sentence
        expect(self.result).to_have_attribute("data-state", "passed")

    def upload(self, file: bytes | Path, name: str = "") -> dict[str, str]:
        """Upload bytes by a name, or a file of any size; gives what the page reports of it."""
        self.text("session")  # what is chosen before that is chosen for nobody
        content = {"name": name, "mimeType": "application/octet-stream", "buffer": file}
        self.frame.locator("#upload").set_input_files(file if isinstance(file, Path) else content)
        report = self.frame.locator("#upload_report")
        expect(report.locator("dd")).to_have_count(4)
        return dict(
            zip(report.locator("dt").all_inner_texts(), report.locator("dd").all_inner_texts(), strict=True)
        )

    def download(self) -> tuple[str, dict]:
        """Press the download button; gives the file's name and what is in it."""
        with self.page.expect_download() as download:
            self.frame.locator("#download").click()
        return download.value.suggested_filename, json.loads(download.value.path().read_text())
