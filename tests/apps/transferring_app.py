"""A Shiny app that takes and gives what is large: files that are uploaded, a download, a piece of the page."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

DOWNLOAD = b"".join(n.to_bytes(4, "big") for n in range(5_000_000))
PIECE = 1 << 16
INSERTED = "".join(f"{n} " for n in range(300_000))

app_ui = ui.page_fluid(
    ui.input_file("files", "Files", multiple=True),
    ui.output_text("received"),
    ui.download_link("numbers", "Numbers"),
    ui.input_action_button("more", "More"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def received():
        return " ".join(
            hashlib.sha256(Path(each["datapath"]).read_bytes()).hexdigest() for each in input.files() or []
        )

    @render.download(filename="numbers.bin")
    def numbers() -> Iterator[bytes]:
        for start in range(0, len(DOWNLOAD), PIECE):
            yield DOWNLOAD[start : start + PIECE]

    @reactive.effect
    @reactive.event(input.more)
    def _():
        ui.insert_ui(ui.p(INSERTED, id="inserted"), "body")


app = App(app_ui, server)
