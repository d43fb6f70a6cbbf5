"""A session of Shiny's in the process that workers are forked off, so that none of them plays its first one.

Where each session has a process of its own, each is the first one there. Python and Shiny do a lot then that they
do once: it takes four times as long as another session. What is done here is done for all forks.

The session is of an app of this file's. None of the served app's own code is run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

from .asgi import ASGIApp, Message
from .warm_up import render_page, scope_of

# Seconds after which it is left at that; it takes a twentieth of one.
PATIENCE = 2

# What a page says at its start, and when an input has moved.
INIT = {
    "method": "init",
    "data": {
        ".clientdata_pixelratio": 1,
        ".clientdata_output_out_hidden": False,
        ".clientdata_output_more_hidden": False,
        "n": 5,
        "text": "",
        "go:shiny.action": 0,
    },
}
UPDATE = {"method": "update", "data": {"n": 7, "go:shiny.action": 1}}


def rehearse() -> None:
    """Play a session, if Shiny is imported; it leaves nothing behind, and whatever fails is none the worse for it.

    An app that records what Shiny does would record this, too, so it is left out there.
    """
    if not hasattr(sys.modules.get("shiny"), "App") or "opentelemetry.sdk" in sys.modules:
        return
    loop = asyncio.new_event_loop()  # and no other is touched: the app may have one
    with suppress(Exception):
        from shiny.reactive import _core

        own, _core._reactive_environment = _core._reactive_environment, _core.ReactiveEnvironment()
        try:
            loop.run_until_complete(asyncio.wait_for(_play(_app()), PATIENCE))
        finally:
            _core._reactive_environment = own
    loop.close()


def _app() -> ASGIApp:
    """An app with what most have: inputs, outputs, a calculation, an effect."""
    from shiny import App, reactive, render, ui

    app_ui = ui.page_sidebar(
        ui.sidebar(
            ui.input_slider("n", "n", 0, 10, 5), ui.input_text("text", "text"), ui.input_action_button("go", "go")
        ),
        ui.output_text("out"),
        ui.output_ui("more"),
    )

    def server(input: Any, output: Any, session: Any) -> None:
        @reactive.calc
        def twice() -> int:
            return int(2 * input.n())

        @reactive.effect
        @reactive.event(input.go)
        def go() -> None:
            twice()

        @render.text
        def out() -> str:
            return f"out is {twice()}"

        @render.ui
        def more() -> Any:
            return ui.p(input.text())

    return App(app_ui, server)


async def _play(app: ASGIApp) -> None:
    """Load the page; open its session, move an input once the output is there, and close it after the next."""
    await render_page(app, "/")
    said = [{"type": "websocket.disconnect", "code": 1001}, _message(UPDATE)]
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    for message in ({"type": "websocket.connect"}, _message(INIT)):
        inbox.put_nowait(message)

    async def send(message: Message) -> None:
        if "out is" in message.get("text", "") and said:
            inbox.put_nowait(said.pop())

    await app(scope_of("websocket", "/websocket/", scheme="ws", subprotocols=[]), inbox.get, send)


def _message(content: dict[str, Any]) -> Message:
    return {"type": "websocket.receive", "text": json.dumps(content)}
