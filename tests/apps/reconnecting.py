"""An app whose process may go: its inputs, and a count that the server alone has.

The query says what the app says of it: `?allow=force` has Shiny begin one by itself, `?allow=no` forbids it.
"""

import ctypes
import hashlib
import os
from pathlib import Path
from urllib.parse import parse_qs

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_fluid(
    ui.input_text("name", "Name", "nobody"),
    ui.input_action_button("add", "Add"),
    ui.output_text("seen"),
    ui.input_file("file", "File", multiple=True),
    ui.output_text("digests"),
    ui.input_action_button("close", "Close"),
    ui.input_checkbox("deadly", "Deadly", False),
)

ALLOWED = {"force": "force", "no": False}


def server(input: Inputs, output: Outputs, session: Session):
    added = reactive.value(0)

    @reactive.effect
    @reactive.event(input[".clientdata_url_search"])
    def say():
        asked = parse_qs(input[".clientdata_url_search"]().lstrip("?")).get("allow")
        if asked:
            session.allow_reconnect(ALLOWED[asked[0]])

    @reactive.effect
    @reactive.event(input.add)
    def add():
        added.set(added() + 1)

    @render.text
    def seen():
        return f"{input.name()}, added {added()} of {input.add()}"

    @render.text
    def digests():
        told = [
            f"{file['name']}:{hashlib.sha256(Path(file['datapath']).read_bytes()).hexdigest()[:8]}"
            for file in input.file() or []
        ]
        return " ".join([os.environ["STICKY_INCARNATION"], *told])

    @reactive.effect
    @reactive.event(input.close)
    async def close():
        await session.close()

    @reactive.effect
    def die():
        if input.deadly():
            ctypes.string_at(0)


app = App(app_ui, server)
