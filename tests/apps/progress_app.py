"""A Shiny app whose one output computes without ever letting the event loop go on, and tells how far it is."""

import os
import time
from pathlib import Path

from shiny import App, render, ui

STEPS = 5
FOLDER = Path(os.environ["STEPS_MAY_END"])


def server(input, output, session):
    @render.text
    def answer():
        with ui.Progress(min=0, max=STEPS) as progress:
            for step in range(1, STEPS + 1):
                progress.set(step, message=f"step {step}")
                deadline = time.monotonic() + 20
                while not (FOLDER / str(step)).exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
        return "computed"


app = App(ui.page_fluid(ui.output_text("answer")), server)
