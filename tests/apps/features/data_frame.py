"""A table whose cells can be edited, whose rows can be filtered and selected, and what the server knows of it."""

import pandas as pd
from shiny import App, Inputs, Outputs, Session, reactive, render, ui

TOWNS = pd.DataFrame({"town": ["Graz", "Linz", "Wels", "Steyr"], "height": [353, 266, 317, 310]})

app_ui = ui.page_fluid(
    ui.output_data_frame("grid"),
    ui.output_text("selected"),
    ui.output_text("viewed"),
    ui.output_text("all_of_it"),
    ui.input_action_button("select_last", "Select the last"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.data_frame
    def grid():
        return render.DataGrid(TOWNS, filters=True, editable=True, selection_mode="rows")

    @grid.set_patch_fn
    def shout(*, patch: render.CellPatch):
        return patch["value"].upper() if patch["column_index"] == 0 else int(patch["value"])

    @render.text
    def selected():
        return f"selected: {', '.join(grid.data_view(selected=True)['town'])}"

    @render.text
    def viewed():
        return f"viewed: {', '.join(grid.data_view()['town'])}"

    @render.text
    def all_of_it():
        return f"all: {', '.join(grid.data()['town'])}; {grid.data_patched()['height'].sum()}"

    @reactive.effect
    @reactive.event(input.select_last)
    async def select_last():
        await grid.update_cell_selection({"type": "row", "rows": 3})


app = App(app_ui, server)
