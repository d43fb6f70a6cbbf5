from shiny import App, Inputs, Outputs, Session, render, ui

app_ui = ui.page_fluid("Core app", ui.output_text("who"))


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def who():
        return "core"


app = App(app_ui, server)
