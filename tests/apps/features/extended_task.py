"""A task that goes on beside the session's other work, and can be cancelled."""

import asyncio

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_fluid(
    ui.input_numeric("seconds", "Seconds", 1),
    ui.input_task_button("start", "Start"),
    ui.input_action_button("cancel", "Cancel"),
    ui.output_text("status"),
    ui.output_text("result"),
    ui.input_action_button("more", "More"),
    ui.output_text("count"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @ui.bind_task_button(button_id="start")
    @reactive.extended_task
    async def task(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return f"took {seconds} s"

    @reactive.effect
    @reactive.event(input.start)
    def start():
        task(input.seconds())

    @reactive.effect
    @reactive.event(input.cancel)
    def cancel():
        task.cancel()

    @render.text
    def status():
        return task.status()

    @render.text
    def result():
        return task.result()

    @render.text
    def count():
        return f"{input.more()}"


app = App(app_ui, server)
