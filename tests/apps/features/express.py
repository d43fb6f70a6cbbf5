"""Shiny Express, with its own static files in www/: a card, text that is written as it is, and UI in a loop."""

from shiny import reactive
from shiny.express import expressify, input, render, ui

ui.page_opts(title="Express", fillable=True)
ui.include_css("express.css")

with ui.sidebar():
    ui.input_text("name", "Name", "nobody")
    ui.input_action_button("more", "More")

with ui.card(id="card"):
    ui.card_header("Card")

    @render.ui
    def greeting():
        return ui.tags.b(f"Hello {input.name()}")

    @render.express
    def rows():
        for number in range(count()):
            ui.div(f"Row {number}", class_="row-of-mine")

    @expressify
    def picture():
        ui.img(src="dot.svg", id="dot")

    picture()


@reactive.calc
def count():
    return input.more() + 1
