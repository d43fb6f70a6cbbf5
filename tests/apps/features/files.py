"""Files both ways: uploads, downloads of several kinds, and a route of the session's own."""

import asyncio
import hashlib
from pathlib import Path

from shiny import App, Inputs, Outputs, Session, render, ui
from starlette.requests import Request
from starlette.responses import JSONResponse

app_ui = ui.page_fluid(
    ui.input_file("upload", "Upload", multiple=True),
    ui.output_code("uploaded"),
    ui.input_text("word", "Word", "first"),
    ui.output_text("arrived"),
    ui.download_button("made", "Made"),
    ui.download_link("on_disk", "On disk"),
    ui.download_button("failing", "Failing"),
    ui.output_ui("route"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.text
    def uploaded():
        lines = []
        for file in input.upload() or []:
            digest = hashlib.sha256(Path(file["datapath"]).read_bytes()).hexdigest()
            lines.append(f"{file['name']} {file['size']} {file['type']} {digest}")
        return "\n".join(lines)

    @render.text
    def arrived():
        return input.word()

    @render.download(filename=lambda: f"{input.word()} ü.csv", media_type="text/csv")
    async def made():
        for row in range(3):
            yield f"{input.word()},{row}\n"
            await asyncio.sleep(0.05)

    @render.download
    def on_disk():
        return str(Path(__file__).parent / "www" / "dot.svg")

    @render.download(filename="never.txt")
    def failing():
        raise RuntimeError("This download fails.")
        yield ""

    async def answer(request: Request) -> JSONResponse:
        body = (await request.body()).decode()
        return JSONResponse({"method": request.method, "query": request.url.query, "body": body})

    address = session.dynamic_route("answer", answer)

    @render.ui
    def route():
        return ui.a("Route", id="address", href=address)


app = App(app_ui, server)
