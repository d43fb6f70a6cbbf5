"""What a visitor feels: Chromium with nothing in its cache, over a link as people have it, opens the demo."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser
from playwright.sync_api import TimeoutError as PlaywrightTimeout

import backends
from contestants import Contestant, Hash, Launched, UvicornAlone
from programs import Missing
from scenarios import WORKERS, Bench, Figures, Outcome, until_stable
from support.browser import NAMES, chromium

# The link: milliseconds until a request is answered, besides what the answer takes; bytes a second, each way.
LATENCY = 40
BANDWIDTH = 10_000_000 / 8

# Milliseconds that a visit may take, on a machine that has much else to do.
PATIENCE = 300_000

# Notes when the first output shows something, by the page's own clock, which begins with its address.
WAIT_FOR_OUTPUT = """
new MutationObserver((_, observer) => {
    if (!document.getElementById("worker")?.textContent.trim()) return;
    window.firstOutput = performance.now();
    observer.disconnect();
}).observe(document, { childList: true, subtree: true, characterData: true });
"""

SEEN = "window.firstOutput && performance.getEntriesByName('first-paint').length"

FIGURES = """() => {
    const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const before = all.filter((entry) => entry.responseEnd <= window.firstOutput);
    return {
        paint_ms: performance.getEntriesByName("first-paint")[0].startTime,
        output_ms: window.firstOutput,
        kb_before: before.reduce((sum, entry) => sum + entry.transferSize, 0) / 1000,
        requests_before: before.length,
    };
}"""


def visitor(bench: Bench) -> Outcome:
    """First visits to the demo by a real browser."""
    outcome = Outcome()
    if not any(map(shutil.which, NAMES)):
        raise Missing(f"none of {', '.join(NAMES)} is installed")
    with (
        backends.demo(WORKERS) as sockets,
        bench.running((Launched, Hash, UvicornAlone), sockets, outcome) as fronts,
        chromium() as browser,
    ):
        for front in fronts:
            bench.say(f"warming {front.key}")
            if isinstance(front, Launched):
                until_stable(front.port, 1 if bench.smoke else 6, outcome)
            _visit(browser, front)
        bench.alternate(
            outcome, {front.key: lambda front=front: _visit(browser, front) for front in fronts}, most=7
        )
    return outcome


def _visit(browser: Browser, front: Contestant) -> Figures:
    """Open the page once, as somebody who has never been there."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.add_init_script(WAIT_FOR_OUTPUT)
        link = {"latency": LATENCY, "downloadThroughput": BANDWIDTH, "uploadThroughput": BANDWIDTH}
        devtools = context.new_cdp_session(page)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU time of the page's main thread
        devtools.send("Network.enable")
        devtools.send("Network.emulateNetworkConditions", {"offline": False, **link})
        page.goto(f"http://127.0.0.1:{front.port}/", wait_until="commit")
        try:
            page.wait_for_function(SEEN, timeout=PATIENCE)
        except PlaywrightTimeout:
            state = page.evaluate("[document.readyState, window.firstOutput, document.documentElement.className]")
            raise RuntimeError(f"{front.key}: no first output within {PATIENCE / 1000:g} s: {state}") from None
        spent = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
        return page.evaluate(FIGURES) | {"browser_ms": 1000 * spent["TaskDuration"]}
    finally:
        context.close()
