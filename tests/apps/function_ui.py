"""A Shiny app whose UI is a function of the request, as bookmarking needs it."""

from shiny import App, Inputs, Outputs, Session, render, ui


def app_ui(request):
    return ui.page_fluid("Function app", ui.output_text("who"))


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def who():
        return "function"


app = App(app_ui, server)
