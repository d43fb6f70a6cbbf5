"""What an app tells tests of itself, in test mode."""

from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from shiny.testmode import export_test_values, snapshot_preprocess_input

app_ui = ui.page_fluid(ui.input_numeric("n", "n", 3), ui.input_text("when", "When", "now"), ui.output_text("shown"))


def server(input: Inputs, output: Outputs, session: Session):
    @reactive.calc
    def square():
        return input.n() ** 2

    @render.text
    def shown():
        return f"square: {square()}"

    export_test_values(square=square)
    snapshot_preprocess_input("when", lambda value: f"<{len(value)} letters>")


app = App(app_ui, server)
