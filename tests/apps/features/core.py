"""Shiny Core: inputs of several kinds, outputs, and a selectize input that asks the server for its choices."""

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_sidebar(
    ui.sidebar(
        ui.input_slider("n", "n", 1, 100, 20),
        ui.input_checkbox_group("letters", "Letters", ["a", "b", "c"]),
        ui.input_selectize("town", "Town", []),
        ui.input_action_button("reset", "Reset"),
    ),
    ui.output_text("shown"),
    ui.output_table("table"),
    title="Core",
)


def server(input: Inputs, output: Outputs, session: Session):
    ui.update_selectize("town", choices=[f"Town {number}" for number in range(5_000)], selected=[], server=True)

    @reactive.calc
    def square():
        return input.n() ** 2

    @render.text
    def shown():
        return f"{square()}, {', '.join(input.letters()) or 'no letter'}, {input.town() or 'no town'}"

    @render.table
    def table():
        import pandas as pd

        return pd.DataFrame({"n": [input.n()], "square": [square()]})

    @reactive.effect
    @reactive.event(input.reset)
    def reset():
        ui.update_slider("n", value=20)
        ui.update_checkbox_group("letters", selected=[])
        ui.notification_show("It is as it was.", duration=None)


app = App(app_ui, server)
