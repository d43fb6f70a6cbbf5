"""A page like most: an input moves, and an output follows at once."""

from shiny import App, Inputs, Outputs, Session, render, ui

app_ui = ui.page_sidebar(
    ui.sidebar(ui.input_slider("n", "n", 0, 1_000_000, 0), ui.input_text("name", "Name")),
    ui.output_text("out"),
    ui.output_ui("details"),
    title="Light",
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def out():
        return f"n is {input.n()}"

    @render.ui
    def details():
        return ui.p(f"Nobody is called {input.name()}.")


app = App(app_ui, server)
