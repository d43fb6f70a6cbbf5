"""Static files of an app's own: a folder at the app's path, one below it, a single file, and a dependency."""

from pathlib import Path

from htmltools import HTMLDependency
from shiny import App, Inputs, Outputs, Session, reactive, render, ui

HERE = Path(__file__).parent

drawn_later = HTMLDependency("later", "1.0", source={"subdir": str(HERE / "pictures")}, all_files=True)

app_ui = ui.page_fluid(
    ui.head_content(ui.tags.script(src="own.js"), ui.tags.link(rel="stylesheet", href="own.css")),
    ui.p("Styled", id="styled"),
    ui.img(src="dot.svg", id="dot"),
    ui.img(src="pictures/large.svg", id="large"),
    ui.a("The app's code", id="code", href="code/static_files.py"),
    ui.input_action_button("draw", "Draw"),
    ui.output_ui("drawn"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.ui
    @reactive.event(input.draw)
    def drawn():
        return ui.TagList(drawn_later, ui.img(src="lib/later-1.0/large.svg", id="later"))


app = App(
    app_ui,
    server,
    static_assets={
        "/": HERE / "www",
        "/pictures": HERE / "pictures",
        "/code/static_files.py": HERE / "static_files.py",
    },
)
