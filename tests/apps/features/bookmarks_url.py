"""A bookmark that is all in its URL, with a value that no input holds, and one input that is left out."""

from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from shiny.bookmark import BookmarkState, RestoreState
from starlette.requests import Request


def app_ui(request: Request):
    return ui.page_fluid(
        ui.input_text("name", "Name", "nobody"),
        ui.input_slider("n", "n", 0, 10, 1),
        ui.input_text("secret", "Secret", ""),
        ui.input_action_button("more", "More"),
        ui.output_text("count"),
        ui.input_bookmark_button(),
    )


def server(input: Inputs, output: Outputs, session: Session):
    clicked = reactive.value(0)
    session.bookmark.exclude.append("secret")

    @reactive.effect
    @reactive.event(input.more)
    def more():
        clicked.set(clicked() + 1)

    @render.text
    def count():
        return f"count: {clicked()}"

    @session.bookmark.on_bookmark
    async def keep(state: BookmarkState):
        state.values["clicked"] = clicked()

    @session.bookmark.on_restore
    def restore(state: RestoreState):
        clicked.set(state.values.get("clicked", 0))

    @session.bookmark.on_bookmarked
    async def show(url: str):
        await session.bookmark.update_query_string(url)


app = App(app_ui, server, bookmark_store="url")
