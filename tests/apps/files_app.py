"""A Shiny app with dependencies of its own, and files of its own: in www/, and in www/lib/ beside Shiny's."""

import os
from pathlib import Path

from htmltools import HTMLDependency
from shiny import App, Inputs, Outputs, Session, ui

HERE = Path(__file__).parent

dependency = HTMLDependency(
    "own", "1.0", source={"subdir": str(HERE / "own")}, script={"src": "own.js"}, stylesheet={"href": "own.css"}
)

# What shinywidgets calls a widget that asks for a range of versions: the name stays when the files change.
nameless = HTMLDependency("widget", "0.0", source={"subdir": str(HERE / "own")}, script={"src": "own.js"})

app_ui = ui.page_fluid(dependency, nameless, ui.p("Files", id="files"), ui.p("x" * 2000))


def server(input: Inputs, output: Outputs, session: Session):
    os.getpid()


app = App(app_ui, server, static_assets=HERE / "www")
