"""An app as people have them: pandas and matplotlib, which take long to import, and much memory."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
from shiny import App, render, ui

table = pd.DataFrame({"x": range(1000)}).assign(y=lambda frame: frame.x**2)

app_ui = ui.page_fixed(ui.output_plot("curve"), title="Science")


def server(input, output, session):
    """Draw the table."""

    @render.plot
    def curve():
        figure, axes = plt.subplots()
        axes.plot(table.x, table.y)
        return figure


app = App(app_ui, server)
