"""What comes without being asked for: ticks, and what is in a file that anybody may write."""

from pathlib import Path

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

NOTES = Path("notes.txt")
NOTES.touch()

app_ui = ui.page_fluid(
    ui.output_text("ticks"),
    ui.input_text("note", "Note"),
    ui.input_action_button("write", "Write"),
    ui.output_text("polled"),
    ui.output_text("read"),
)


def server(input: Inputs, output: Outputs, session: Session):
    ticked = reactive.value(0)

    @reactive.effect
    def tick():
        reactive.invalidate_later(0.1)
        with reactive.isolate():
            ticked.set(ticked() + 1)

    @render.text
    def ticks():
        return f"{ticked()}"

    @reactive.effect
    @reactive.event(input.write)
    def write():
        NOTES.write_text(input.note())

    @reactive.poll(lambda: NOTES.read_text(), 0.1)
    def poll():
        return NOTES.read_text()

    @reactive.file_reader(NOTES, interval_secs=0.1)
    def read_file():
        return NOTES.read_text()

    @render.text
    def polled():
        return f"polled: {poll()}"

    @render.text
    def read():
        return f"read: {read_file()}"


app = App(app_ui, server)
