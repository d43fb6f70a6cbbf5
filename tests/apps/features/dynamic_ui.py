"""Buttons that draw what the page has not needed so far: its scripts and styles come with it."""

import pandas as pd
from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_fluid(
    ui.input_action_button("draw_table", "Table"),
    ui.output_ui("table"),
    ui.input_action_button("draw_editor", "Editor"),
    ui.output_ui("editor"),
    ui.input_action_button("draw_sidebar", "Sidebar"),
    ui.output_ui("sidebar"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.ui
    @reactive.event(input.draw_table)
    def table():
        return ui.output_data_frame("grid")

    @render.data_frame
    def grid():
        return render.DataGrid(pd.DataFrame({"city": ["Graz", "Linz", "Wels"], "height": [353, 266, 317]}))

    @render.ui
    @reactive.event(input.draw_editor)
    def editor():
        return ui.TagList(ui.input_code_editor("code", value="x = 1", language="python"), ui.output_text("code_is"))

    @render.text
    def code_is():
        return f"code: {input.code()}"

    @render.ui
    @reactive.event(input.draw_sidebar)
    def sidebar():
        return ui.layout_sidebar(ui.sidebar("In the sidebar", id="side"), ui.output_text("side_is"))

    @render.text
    def side_is():
        return f"open: {input.side()}"


app = App(app_ui, server)
