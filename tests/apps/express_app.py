from shiny.express import render, ui

ui.h1("Express app")


@render.text
def who():
    return "express"
