"""All by which a page notices what its session does: outputs, busyness, progress, modals, inserted UI and so on."""

import asyncio

from shiny import App, Inputs, Outputs, Session, reactive, render, req, ui

app_ui = ui.page_fluid(
    ui.input_select("how", "How", ["well", "error", "silent", "cancel"]),
    ui.output_text("outcome"),
    ui.panel_conditional("output.outcome == 'It went well.'", "Well!", id="well"),
    ui.input_action_button("compute", "Compute"),
    ui.output_text("computed"),
    ui.input_task_button("start", "Start"),
    ui.output_text("task_result"),
    ui.input_action_button("choose", "Choose"),
    ui.input_action_button("tell", "Tell"),
    ui.div(id="place"),
    ui.output_text("flushes"),
)


def server(input: Inputs, output: Outputs, session: Session):
    flushed = reactive.value(0)

    async def count():
        with reactive.isolate():
            flushed.set(flushed() + 1)

    @render.text
    def outcome():
        how = input.how()
        req(how != "silent")
        req(how != "cancel", cancel_output=True)
        if how == "error":
            raise RuntimeError("an error")
        return f"It went {how}."

    @render.text
    @reactive.event(input.compute)
    async def computed():
        with ui.Progress(0, 2) as bar:
            for step in (1, 2):
                bar.set(step, message=f"Step {step}")
                await asyncio.sleep(0.05)
        return f"computed {input.compute()}"

    @ui.bind_task_button(button_id="start")
    @reactive.extended_task
    async def task(number: int) -> str:
        await asyncio.sleep(0.3)
        return f"task {number} is done"

    @reactive.effect
    @reactive.event(input.start)
    def start():
        task(input.start())

    @render.text
    def task_result():
        return task.result()

    @reactive.effect
    @reactive.event(input.tell)
    def tell():
        ui.insert_ui(ui.p("inserted", class_="inserted"), selector="#place")
        ui.notification_show("a notification", duration=None)
        ui.modal_show(ui.modal("a modal"))
        session.on_flushed(count, once=True)

    # Apart from what counts a flush: an answer of the page may come before that or after it.
    @reactive.effect
    @reactive.event(input.choose)
    def choose():
        ui.update_select("how", selected="well")

    @render.text
    def flushes():
        return f"flushed: {flushed()}"


app = App(app_ui, server)
