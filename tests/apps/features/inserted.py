"""UI that is inserted, removed and shown in modals: with inputs and outputs in it."""

from shiny import App, Inputs, Outputs, Session, reactive, render, ui

app_ui = ui.page_fluid(
    ui.input_action_button("insert", "Insert"),
    ui.input_action_button("remove", "Remove"),
    ui.div(id="place"),
    ui.input_action_button("ask", "Ask"),
    ui.output_text("answer"),
)


def server(input: Inputs, output: Outputs, session: Session):
    asked = reactive.value("nothing yet")

    @reactive.effect
    @reactive.event(input.insert)
    def insert():
        number = input.insert()
        name, echo = f"name{number}", f"echo{number}"

        @output(id=echo)
        @render.text
        def _():
            return f"{name}: {input[name]()}"

        part = ui.div(ui.input_text(name, "Name", "new"), ui.output_text(echo), id=f"part{number}", class_="part")
        ui.insert_ui(part, selector="#place", where="beforeEnd")

    @reactive.effect
    @reactive.event(input.remove)
    def remove():
        ui.remove_ui(selector="#place .part:first-child")

    @reactive.effect
    @reactive.event(input.ask)
    def ask():
        ui.modal_show(
            ui.modal(
                ui.input_text("reply", "Your reply"),
                title="A question",
                easy_close=True,
                footer=ui.TagList(ui.modal_button("Dismiss"), ui.input_action_button("ok", "OK")),
            )
        )

    @reactive.effect
    @reactive.event(input.ok)
    def ok():
        asked.set(input.reply())
        ui.modal_remove()

    @render.text
    def answer():
        return f"answer: {asked()}"


app = App(app_ui, server)
