"""The demo: a Shiny page that shows which process serves it and proves that it stays with that process.

It runs behind the launcher, under a path such as ``/foo/``, and alone with ``shiny run app/app.py``; it needs
Shiny 1.8 or newer. It knows nothing of nginx or the cookie: this is what an ordinary app sees.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from starlette.requests import Request
from starlette.responses import JSONResponse

WWW = Path(__file__).parent / "www"

# How many requests the sticky test makes. The browser makes them; it reads the number from the page.
ATTEMPTS = 100

_started: datetime


def _note_start() -> None:
    """Note the present as the time this process started."""
    global _started
    _started = datetime.now(UTC)


_note_start()
if hasattr(os, "register_at_fork"):
    # The launcher may import the app once and fork the workers off it: what was noted at import is then the
    # parent's. The same goes for the environment and the pid, so `this_process` asks for them at each call.
    os.register_at_fork(after_in_child=_note_start)


@dataclass(frozen=True)
class Process:
    """The process that answers: its slot (worker), its own name (incarnation), its pid and its age."""

    worker: str
    incarnation: str
    pid: int
    started: datetime


def this_process() -> Process:
    """Return the process this runs in; without the launcher it is called ``app`` and has no incarnation."""
    return Process(
        worker=os.environ.get("STICKY_WORKER", "app"),
        incarnation=os.environ.get("STICKY_INCARNATION", "-"),
        pid=os.getpid(),
        started=_started,
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fact(title: str, output: ui.Tag, note: ui.TagChild) -> ui.Tag:
    """Return a value box: a title, the output that fills it, and a line that says what it is."""
    return ui.value_box(title, output, ui.span(note, class_="note"))


def row(term: str, text: str) -> tuple[ui.Tag, ui.Tag]:
    """Return one line of a description list."""
    return ui.tags.dt(term), ui.tags.dd(text)


def process_facts() -> ui.Tag:
    """Return the row that names the process and the session."""
    return ui.div(
        fact("Worker", ui.output_text("worker", inline=True), "the name in the cookie"),
        fact("Incarnation", ui.output_text("incarnation", inline=True), "this process's own name"),
        fact("Process id", ui.output_text("pid", inline=True), ui.output_text("started", inline=True)),
        fact("Session", ui.output_ui("session", inline=True), "Shiny's own id for it"),
        class_="facts",
    )


def sticky_card() -> ui.Tag:
    """Return the card that ``www/sticky-test.js`` fills."""
    return ui.card(
        ui.card_header("Sticky test"),
        ui.p(
            f"{ATTEMPTS} requests, one after another, to a route that only this session has. "
            "Any other process would answer 404."
        ),
        ui.div(
            ui.span(ui.span("0", id="sticky-attempts", class_="count"), f" of {ATTEMPTS} requests"),
            ui.tags.button("Run again", id="sticky-run", type="button", class_="btn btn-default"),
            class_="row-between",
        ),
        ui.tags.progress(id="sticky-progress", value="0", max=str(ATTEMPTS), aria_label="Requests made"),
        ui.p("Waiting for the session.", {"data-state": "running"}, id="sticky-result", role="status"),
    )


def clicks_card() -> ui.Tag:
    """Return the card with the input that a reconnect keeps."""
    return ui.card(
        ui.card_header("Reconnect"),
        ui.p(
            "Should this process go away, the browser connects to another one and brings its inputs along: "
            "the facts above change, the count stays."
        ),
        ui.div(
            ui.span(ui.output_text("click_count", inline=True), " clicks"),
            ui.input_action_button("clicks", "Count"),
            class_="row-between",
        ),
    )


def upload_card() -> ui.Tag:
    """Return the card that takes a file and reports what arrived."""
    return ui.card(
        ui.card_header("Upload"),
        ui.input_file("upload", "The file goes up by plain HTTP, beside the websocket.", width="100%"),
        ui.output_ui("upload_report"),
    )


def download_card() -> ui.Tag:
    """Return the card with the download."""
    return ui.card(
        ui.card_header("Download"),
        ui.p("A small file in which the process that made it names itself."),
        ui.div(ui.download_button("download", "Download")),
    )


app_ui = ui.page_fixed(
    ui.head_content(
        ui.tags.link(rel="icon", href="data:,"),  # or the browser asks for /favicon.ico, outside any mount
        # Inline, because Shiny's "link" copies the file into a temporary folder that all workers would share.
        ui.include_css(WWW / "demo.css", method="inline"),
    ),
    ui.tags.header(
        ui.h1("Sticky Shiny workers"),
        ui.p("This page lives in one Python process. Every request it makes must come back to that process."),
    ),
    ui.tags.main(
        process_facts(),
        ui.layout_columns(
            sticky_card(),
            clicks_card(),
            upload_card(),
            download_card(),
            col_widths={"xs": 12, "lg": (8, 4, 8, 4)},
        ),
    ),
    ui.include_js(WWW / "sticky-test.js", method="inline"),
    title="Sticky Shiny workers",
    lang="en",
)


def server(input: Inputs, output: Outputs, session: Session) -> None:
    """Serve one session: name the process, answer the sticky test, take and give files, count clicks."""
    process = this_process()

    # `True` would wait for a hosting server that says it can reconnect; nginx says no such thing. What comes
    # back is a new session, in whichever process is alive, to which the browser sends its inputs again.
    session.allow_reconnect("force")

    @render.text
    def worker() -> str:
        return process.worker

    @render.text
    def incarnation() -> str:
        return process.incarnation

    @render.text
    def pid() -> str:
        return str(process.pid)

    @render.text
    def started() -> str:
        return f"since {process.started:%d %b %H:%M:%S} UTC"

    @output(id="session")
    @render.ui
    def session_id() -> ui.Tag:
        return ui.span(session.id, title=session.id)

    def answer(request: Request) -> JSONResponse:
        n = request.query_params.get("n", "")
        return JSONResponse(
            {
                "worker": process.worker,
                "pid": process.pid,
                "session": session.id,
                "n": int(n) if n.isdecimal() else None,
            },
            headers={"Cache-Control": "no-store"},
        )

    route = session.dynamic_route("sticky", answer)

    # An effect, so that every connect and reconnect starts the test for the session it has got.
    @reactive.effect
    async def _() -> None:
        await session.send_custom_message(
            "sticky-test",
            {"url": route, "worker": process.worker, "pid": process.pid, "session": session.id},
        )

    @render.ui
    async def upload_report() -> ui.Tag | None:
        files = input.upload()
        if not files:
            return None
        path = Path(files[0]["datapath"])
        # In a thread: a large file must not hold up the other sessions of this process.
        digest = await asyncio.to_thread(sha256, path)
        return ui.tags.dl(
            *row("Name", files[0]["name"]),
            *row("Size", f"{path.stat().st_size} bytes"),
            *row("SHA-256", digest),
            *row("Received by", f"{process.worker} (pid {process.pid})"),
        )

    @render.download_button(filename=f"{process.worker}-{process.pid}.txt", media_type="text/plain")
    def download() -> Iterator[str]:
        facts = {
            "worker": process.worker,
            "incarnation": process.incarnation,
            "pid": process.pid,
            "session": session.id,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        yield from json.JSONEncoder(indent=2).iterencode(facts)
        yield "\n"

    @render.text
    def click_count() -> str:
        return str(input.clicks())


app = App(app_ui, server)
