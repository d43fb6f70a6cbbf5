"""An app with bookmarks (BOOKMARK_STORE), with an input that the server makes, and a count that is in no input."""

import os

from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from shiny.bookmark import BookmarkState, RestoreState
from starlette.requests import Request


def app_ui(request: Request):
    return ui.page_fluid(
        ui.input_text("name", "Name", "nobody"),
        ui.input_action_button("add", "Add"),
        ui.input_file("file", "File"),
        ui.output_ui("made"),
        ui.output_text("seen"),
    )


def server(input: Inputs, output: Outputs, session: Session):
    added = reactive.value(0)

    @reactive.effect
    @reactive.event(input.add, ignore_init=True)
    def add():
        added.set(added() + 1)

    @render.ui
    def made():
        return ui.input_text("inner", "Inner", "as made")

    @render.text
    def seen():
        where = os.environ["STICKY_INCARNATION"]
        return f"{where}: {input.name()}, {input.inner()}, {added()}, {input['.clientdata_url_search']()[:6]}"

    @session.bookmark.on_bookmark
    async def keep(state: BookmarkState):
        state.values["added"] = added()

    @session.bookmark.on_restore
    def restore(state: RestoreState):
        added.set(state.values.get("added", 0))


app = App(app_ui, server, bookmark_store=os.environ["BOOKMARK_STORE"])
