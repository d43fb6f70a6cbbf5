"""An app with all that a recorded visit may have: an input, an upload, a long list, a download."""

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_fluid(
    ui.input_slider("n", "n", 0, 100, 5),
    ui.input_file("file", "File"),
    ui.input_selectize("town", "Town", choices=[]),
    ui.download_button("report", "Report"),
    ui.output_text("twice"),
    ui.output_text("size"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def twice():
        return str(2 * input.n())

    @render.text
    def size():
        return f"{input.file()[0]['size']} bytes" if input.file() else "nothing"

    @render.download(filename="report.txt")
    def report():
        yield "all is well"

    @reactive.effect
    def _():
        ui.update_selectize("town", choices=[f"town {number}" for number in range(2000)], server=True)


app = App(app_ui, server)
