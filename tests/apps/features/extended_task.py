"""A task that goes on beside the session's other work, and can be cancelled."""

import asyncio

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_fluid(
    ui.input_task_button("start", "Start"),
    ui.input_action_button("finish", "Finish"),
    ui.input_action_button("cancel", "Cancel"),
    ui.output_text("status"),
    ui.output_text("result"),
    ui.input_action_button("more", "More"),
    ui.output_text("count"),
)


def server(input: Inputs, output: Outputs, session: Session):
    may_finish = asyncio.Event()

    @ui.bind_task_button(button_id="start")
    @reactive.extended_task
    async def task(number: int) -> str:
        await may_finish.wait()
        return f"task {number} is done"

    @reactive.effect
    @reactive.event(input.start)
    def start():
        may_finish.clear()
        task(input.start())

    @reactive.effect
    @reactive.event(input.finish)
    def finish():
        may_finish.set()

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
