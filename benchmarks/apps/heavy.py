"""A page whose output takes 20 ms of CPU time."""

import time

from shiny import App, Inputs, Outputs, Session, render, ui

CPU_SECONDS = 0.02

app_ui = ui.page_fluid(ui.input_slider("n", "n", 0, 1_000_000, 0), ui.output_text("out"), title="Heavy")


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def out():
        began = time.thread_time()
        while time.thread_time() - began < CPU_SECONDS:
            pass
        return f"n is {input.n()}"


app = App(app_ui, server)
