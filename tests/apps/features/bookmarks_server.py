"""A bookmark that is kept on the server's disk, a file of the app's own with it."""

from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from shiny.bookmark import BookmarkState, RestoreState
from starlette.requests import Request


def app_ui(request: Request):
    return ui.page_fluid(
        ui.input_text("name", "Name", "nobody"), ui.output_text("content"), ui.input_bookmark_button()
    )


def server(input: Inputs, output: Outputs, session: Session):
    restored = reactive.value("nothing is kept")

    @render.text
    def content():
        return restored()

    @session.bookmark.on_bookmark
    async def keep(state: BookmarkState):
        with reactive.isolate():
            (state.dir / "note.txt").write_text(f"kept for {input.name()}")

    @session.bookmark.on_restore
    def restore(state: RestoreState):
        restored.set((state.dir / "note.txt").read_text())

    @session.bookmark.on_bookmarked
    async def show(url: str):
        await session.bookmark.update_query_string(url)


app = App(app_ui, server, bookmark_store="server")
