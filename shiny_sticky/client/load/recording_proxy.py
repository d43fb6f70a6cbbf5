"""Serves the proxy through which a visit is recorded, until the visitor's page is closed."""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from pathlib import Path

import uvicorn

from shiny_sticky.client.load.clock import ArrivalClock
from shiny_sticky.client.load.connections import ConnectionFailed, HttpConnection, connected
from shiny_sticky.client.load.recorder import Recorder
from shiny_sticky.client.load.recording import Writer
from shiny_sticky.client.load.target import Target
from shiny_sticky.errors import StickyError
from shiny_sticky.output import Output

LOOPBACK = "127.0.0.1"

# What shinyloadtest calls a server that is neither Shiny Server nor Connect.
SERVER_TYPE = "R/Shiny"

# Seconds that open requests get when the visit is over.
LEAVE_SECONDS = 2


def record(target: Target, file: Path, port: int, opens_browser: bool, output: Output) -> None:
    """Record a visit.

    Args:
        target: the site.
        file: of the recording.
        port: of the proxy; 0 is a free one, which a browser has no files of in its cache.
        opens_browser: whether to open the page in the user's browser.
        output: says what to do.

    Raises:
        StickyError: nothing answers there, the port is in use, the file cannot be written, or nobody came.
    """
    clock = ArrivalClock()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner:
        runner.run(_record(target, file, port, opens_browser, output, clock))


async def _record(
    target: Target, file: Path, port: int, opens_browser: bool, output: Output, clock: ArrivalClock
) -> None:
    try:
        (await connected(target.place, lambda: HttpConnection(clock))).close()
    except ConnectionFailed as error:
        raise StickyError(f"Nothing answers at {target.url}: {error}") from None
    listener = _listener(port)
    writer = Writer(file, target.url, SERVER_TYPE)
    ended: list[str] = []

    def end(why: str) -> None:
        ended.append(why)
        server.should_exit = True

    recorder = Recorder(target, writer, clock, end)
    recorder.origin = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        recorder,
        lifespan="off",
        log_level="critical",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=LEAVE_SECONDS,
        ws_max_size=1 << 30,
    )
    server = uvicorn.Server(config)
    output.event(f"Do in {recorder.origin}/ what a visitor does, and close the page: that ends the recording.")
    if opens_browser and not webbrowser.open_new_tab(f"{recorder.origin}/"):
        output.event("No browser can be opened from here: open that address yourself.")
    try:
        await server.serve(sockets=[listener])
    finally:
        writer.close()
        why = "".join(ended) or "Ended before the page was closed"
        events = "1 event is" if writer.events == 1 else f"{writer.events} events are"
        output.event(f"{why}. {events} in {file}")
        for body in writer.bodies:
            output.event(f"What was uploaded is in {body}; keep it beside the recording.")


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()  # who comes before it is served waits
    except OSError as error:
        listener.close()
        raise StickyError(
            f"Port {port} cannot be used: {error.strerror}. Leave --port out for a free one"
        ) from None
    return listener
