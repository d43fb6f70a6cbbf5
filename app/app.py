"""The demo: a Shiny page that shows which process serves it, and what to do to make it lose that; it does not.

It runs behind the launcher, under a path such as ``/foo/``, and alone with ``shiny run app/app.py``; it needs
Shiny 1.8 or newer. It knows nothing of nginx or the cookie: this is what an ordinary app sees. ``page.py`` has the
page, ``workers.py`` what the processes tell each other, ``www/`` what the browser does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

import page
from workers import Presence

SHARED = os.environ.get("STICKY_SHARED")

presence = Presence(Path(SHARED) if SHARED else None)


class Demo(App):
    """The app; a process that begins to serve it is there for the others to see, also before its first session."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the whole life of the process."""
        if scope["type"] == "lifespan":
            presence.tell()
        await super().__call__(scope, receive, send)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(count: float) -> str:
    """Return a number of bytes as people say it: ``1 byte``, ``195 KB``, ``5.02 MB``."""
    if count < 1000:
        return "1 byte" if count == 1 else f"{count} bytes"
    for unit in ("KB", "MB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} GB"


def row(term: str, text: str) -> tuple[ui.Tag, ui.Tag]:
    """Return one line of a description list."""
    return ui.tags.dt(term), ui.tags.dd(text)


def server(input: Inputs, output: Outputs, session: Session) -> None:
    """Serve one session: name the process, answer the sticky test, take and give files, count clicks."""
    process = presence.me
    here = {"worker": process.worker, "pid": process.pid, "session": session.id}
    presence.session_began()
    session.on_ended(presence.session_ended)

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

    @render.ui
    def started() -> ui.Tag:
        time = datetime.fromtimestamp(process.started / 1000, UTC)
        return ui.tags.time(f"{time:%d %b %H:%M:%S} UTC", datetime=time.isoformat())

    @output(id="session")
    @render.text
    def session_id() -> str:
        return session.id

    def answer(request: Request) -> JSONResponse:
        n = request.query_params.get("n", "")
        return JSONResponse({**here, "n": int(n) if n.isdecimal() else None}, headers={"Cache-Control": "no-store"})

    route = session.dynamic_route("sticky", answer)

    # An effect, so that every connect and reconnect starts the test for the session it has got.
    @reactive.effect
    async def _() -> None:
        await session.send_custom_message("sticky-test", {"url": route, "incarnation": process.incarnation, **here})

    async def tell_of_workers() -> None:
        async for processes in presence.changes():
            await session.send_custom_message("workers", [each.to_json() for each in processes])

    @reactive.effect
    @reactive.event(input.said)
    async def _() -> None:
        await session.send_custom_message("heard", input.said())

    telling = asyncio.create_task(tell_of_workers())
    session.on_ended(telling.cancel)

    @render.ui
    async def upload_report() -> ui.Tag:
        files = input.upload()
        if not files:
            return ui.span("This process has got no file yet.")
        path = Path(files[0]["datapath"])
        # In a thread: a large file must not hold up the other sessions of this process.
        digest = await asyncio.to_thread(sha256, path)
        return ui.tags.dl(
            *row("Name", files[0]["name"]),
            *row("Size", size(path.stat().st_size)),
            *row("SHA-256", digest),
            *row("Received by", f"{process.worker} (pid {process.pid})"),
        )

    @render.download_button(filename=f"{process.worker}-{process.pid}.txt", media_type="text/plain")
    async def download() -> AsyncIterator[str]:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        yield json.dumps({**here, "incarnation": process.incarnation, "time": time}, indent=2) + "\n"
        await session.send_custom_message("downloaded", here)

    @render.text
    def click_count() -> str:
        return str(input.clicks())

    @render.text
    def click_unit() -> str:
        return "click" if input.clicks() == 1 else "clicks"


app = Demo(page.page(launched=SHARED is not None), server)
