"""A Shiny app that draws, when it is asked to, what its page did not have, and that needs files of its own.

Either parts of Shiny's, or the app's own files, version `what`, from a folder that this process alone has made.
"""

import os
import tempfile
from pathlib import Path

from htmltools import HTMLDependency
from shiny import App, Inputs, Outputs, Session, render, ui

TEXT = os.environ.get("OWN_TEXT", "old")


def own_dependency(version: str) -> HTMLDependency:
    folder = Path(tempfile.mkdtemp(prefix="own-", dir=os.environ.get("OWN_FOLDER") or os.environ["SITE"]))
    (folder / "own.js").write_text(f"window.own = '{TEXT} {os.getpid() if version == '2.0' else ''}';\n" * 50)
    return HTMLDependency("own", version, source={"subdir": str(folder)}, script={"src": "own.js"})


app_ui = ui.page_fluid(
    ui.head_content(ui.tags.link(rel="icon", href="data:,")),
    own_dependency(os.environ["PAGE"]) if "PAGE" in os.environ else None,
    ui.input_action_button("draw", "Draw"),
    ui.input_text("what", "What", "all"),
    ui.output_text("who"),
    ui.output_ui("drawn"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def who():
        return os.environ["STICKY_INCARNATION"]

    @render.ui
    def drawn():
        if not input.draw():
            return None
        what = input.what()
        if what != "all":
            return ui.div(own_dependency(what), "own")
        return ui.layout_sidebar(
            ui.sidebar("a sidebar", id="side"),
            ui.output_data_frame("table"),
            ui.input_code_editor("code", "Code", "x = 1", language="python"),
        )


app = App(app_ui, server)
