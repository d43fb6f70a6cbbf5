"""What the sessions of a process notice of each other's flushes, and an output that can keep its value."""

from shiny import App, Inputs, Outputs, Session, reactive, render, req, ui
from shiny.session._session import AppSession

app_ui = ui.page_fluid(
    ui.input_numeric("n", "n", 0),
    ui.input_checkbox("keep", "Keep"),
    ui.input_action_button("listen", "Listen"),
    ui.output_text("answer"),
)

made = 0  # messages, by all sessions of the process
make = AppSession._send_message


async def make_and_count(session: AppSession, message: dict[str, object]) -> None:
    """Count a message, whether it is sent or not."""
    global made
    made += 1
    await make(session, message)


AppSession._send_message = make_and_count


def server(input: Inputs, output: Outputs, session: Session):
    session.set_message_handler("made", lambda: made)

    @render.text
    def answer():
        req(not input.keep(), cancel_output=True)
        return f"n is {input.n()}"

    @reactive.effect
    @reactive.event(input.listen)
    def listen():
        async def tell():
            await session.send_custom_message("flushed", seen.pop())

        seen = ["seen"]
        session.on_flush(lambda: seen.append("seen"), once=False)
        session.on_flushed(tell, once=False)


app = App(app_ui, server)
