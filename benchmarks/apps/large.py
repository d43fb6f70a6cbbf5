"""A page whose output is large: a table of 30 KB of HTML."""

from shiny import App, Inputs, Outputs, Session, render, ui

ROWS = 800

app_ui = ui.page_fluid(
    ui.input_slider("n", "n", 0, 1_000_000, 0), ui.output_text("out"), ui.output_ui("details"), title="Large"
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def out():
        return f"n is {input.n()}"

    @render.ui
    def details():
        rows = "".join(f"<tr><td>{row}</td><td>Town {row * input.n() % 97}</td></tr>" for row in range(ROWS))
        return ui.HTML(f"<table>{rows}</table>")


app = App(app_ui, server)
