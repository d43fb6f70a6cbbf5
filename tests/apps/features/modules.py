"""A module that is used twice, each with its own state, and with another module in it."""

from shiny import App, Inputs, Outputs, Session, module, reactive, render, ui


@module.ui
def label_ui():
    return ui.input_text("label", "Label", "none")


@module.server
def label_server(input: Inputs, output: Outputs, session: Session):
    return input.label


@module.ui
def counter_ui():
    return ui.card(ui.input_action_button("more", "More"), label_ui("inner"), ui.output_text("count"))


@module.server
def counter_server(input: Inputs, output: Outputs, session: Session, start: int):
    total = reactive.value(start)
    label = label_server("inner")

    @reactive.effect
    @reactive.event(input.more)
    def more():
        total.set(total() + 1)

    @render.text
    def count():
        return f"{label()}: {total()}"

    return total


app_ui = ui.page_fluid(counter_ui("left"), counter_ui("right"), ui.output_text("both"))


def server(input: Inputs, output: Outputs, session: Session):
    left, right = counter_server("left", 0), counter_server("right", 100)

    @render.text
    def both():
        return f"{left()} and {right()}"


app = App(app_ui, server)
