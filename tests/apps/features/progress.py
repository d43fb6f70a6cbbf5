"""Computations that hold the event loop while they go on, and one that does not: each with a progress bar."""

import asyncio
import time

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

STEPS = 8
SECONDS = 0.3  # a step takes

app_ui = ui.page_fluid(
    ui.output_code("at_first"),
    ui.input_action_button("sync", "Compute"),
    ui.output_code("computed"),
    ui.input_action_button("awaiting", "Compute and await"),
    ui.output_code("awaited"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def at_first():
        time.sleep(STEPS * SECONDS)
        return "ready"

    @render.text
    @reactive.event(input.sync)
    def computed():
        with ui.Progress(0, STEPS) as bar:
            for step in range(1, STEPS + 1):
                bar.set(step, message=f"Step {step}")
                time.sleep(SECONDS)
        return f"computed {input.sync()}"

    @render.text
    @reactive.event(input.awaiting)
    async def awaited():
        with ui.Progress(0, STEPS) as bar:
            for step in range(1, STEPS + 1):
                bar.set(step, message=f"Step {step}")
                await asyncio.sleep(SECONDS)
        return f"awaited {input.awaiting()}"


app = App(app_ui, server)
