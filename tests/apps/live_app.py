"""A Shiny app that answers at once: the input n comes back with who served it, an upload with its checksum."""

import hashlib
import os
from pathlib import Path

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

VERSION = 1

app_ui = ui.page_fluid(
    ui.input_numeric("n", "n", 0),
    ui.output_text("answer"),
    ui.input_file("file", "file"),
    ui.output_text("checksum"),
    title=f"Version {VERSION}",
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def answer():
        return f"{input.n()} version {VERSION} {os.environ['STICKY_INCARNATION']}"

    @render.text
    @reactive.event(input.file)
    def checksum():
        (file,) = input.file()
        return hashlib.sha256(Path(file["datapath"]).read_bytes()).hexdigest()


app = App(app_ui, server)
