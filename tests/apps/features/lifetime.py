"""How sessions end, and who is told: what they leave is in a file that all sessions show."""

from pathlib import Path

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

ENDED = Path("ended.txt")
ENDED.touch()

app_ui = ui.page_fluid(
    ui.input_text("name", "Name"),
    ui.input_action_button("close", "Close"),
    ui.input_action_button("fail", "Fail"),
    ui.input_action_button("message", "Message"),
    ui.output_text("flushed"),
    ui.output_text("ended"),
    ui.tags.script("Shiny.addCustomMessageHandler('note', text => { document.title = text; });"),
)


def server(input: Inputs, output: Outputs, session: Session):
    flushes = reactive.value(0)
    session.on_flushed(lambda: flushes.set(1), once=True)

    @session.on_ended
    def note():
        with reactive.isolate(), ENDED.open("a") as file:
            file.write(f"{input.name()} ")

    @reactive.effect
    @reactive.event(input.close)
    async def close():
        await session.close()

    @reactive.effect
    @reactive.event(input.fail)
    def fail():
        raise RuntimeError("This effect fails.")

    @reactive.effect
    @reactive.event(input.message)
    async def message():
        await session.send_custom_message("note", f"Noted {input.name()}")

    @render.text
    def flushed():
        return f"flushed: {flushes()}"

    @reactive.file_reader(ENDED, interval_secs=0.1)
    def those_ended():
        return ENDED.read_text()

    @render.text
    def ended():
        return f"ended: {those_ended()}"


app = App(app_ui, server)
