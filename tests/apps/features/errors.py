"""Outputs that fail, are silent, or cancel themselves; the errors are shown as they are."""

from shiny import App, Inputs, Outputs, Session, render, req, ui
from shiny.types import SafeException

app_ui = ui.page_fluid(
    ui.input_select("how", "How", ["well", "error", "safe", "silent", "cancel"]),
    ui.output_text("text"),
    ui.output_ui("markup"),
    ui.output_text("asked"),
)


def outcome(how: str) -> str:
    """Give a sentence, or raise what was asked for."""
    req(how != "silent")
    req(how != "cancel", cancel_output=True)
    if how == "error":
        raise RuntimeError("the <b>password</b> is 1234")
    if how == "safe":
        raise SafeException("Nobody need fear this.")
    return f"This went {how}."


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def text():
        return outcome(input.how())

    @render.ui
    def markup():
        return ui.p(outcome(input.how()))

    @render.text
    def asked():
        return f"asked: {input.how()}"


app = App(app_ui, server)
