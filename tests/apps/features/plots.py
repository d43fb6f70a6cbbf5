"""A plot that is drawn anew when an input or its size changes, and knows where it is clicked and brushed."""

import matplotlib.pyplot as plt
from shiny import App, Inputs, Outputs, Session, render, req, ui

app_ui = ui.page_fluid(
    ui.input_numeric("top", "Top", 10),
    ui.output_plot("plot", width="400px", height="300px", click=True, brush=True),
    ui.output_text("clicked"),
    ui.output_text("brushed"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render.plot(alt="A line")
    def plot():
        figure, axes = plt.subplots()
        axes.plot([0, input.top()], [0, input.top()])
        return figure

    @render.text
    def clicked():
        at = req(input.plot_click())
        return f"clicked: {at['x']:.1f}, {at['y']:.1f}"

    @render.text
    def brushed():
        box = req(input.plot_brush())
        return f"brushed: {box['xmin']:.1f} to {box['xmax']:.1f}"


app = App(app_ui, server)
