"""A Shiny app that counts both ways, ten times a second: what gets lost, comes twice or in another order shows.

The worker sends the numbers as custom messages; the page sends its own as the input `tick`, and the worker tells
what it has got when the input `report` asks for it.
"""

import asyncio
import os

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

PAGE = """
window.counted = [];
Shiny.addCustomMessageHandler("count", number => counted.push(number));
Shiny.addCustomMessageHandler("report", report => { window.report = report; });
$(document).on("shiny:sessioninitialized", () => {
    let tick = 0;
    setInterval(() => Shiny.setInputValue("tick", tick++, {priority: "event"}), 100);
});
"""

app_ui = ui.page_fluid(
    ui.input_numeric("n", "n", 0),
    ui.output_text("answer"),
    ui.output_text("name"),
    ui.tags.script(ui.HTML(PAGE)),
)


def server(input: Inputs, output: Outputs, session: Session):
    ticks: list[int] = []

    async def count():
        number = 0
        while True:
            await session.send_custom_message("count", number)
            number += 1
            await asyncio.sleep(0.1)

    counting = asyncio.create_task(count())
    session.on_ended(counting.cancel)

    @reactive.effect
    @reactive.event(input.tick)
    def _():
        ticks.append(input.tick())

    @reactive.effect
    @reactive.event(input.report)
    async def _():
        await session.send_custom_message("report", {"ticks": ticks})

    @render.text
    def answer():
        return f"{input.n()} squared is {input.n() ** 2}"

    @render.text
    def name():
        return os.environ.get("STICKY_INCARNATION", "")


app = App(app_ui, server)
