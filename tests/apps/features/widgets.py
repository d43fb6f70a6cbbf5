"""Jupyter widgets: Jupyter's own slider, and one with a script of its own that is drawn later."""

import anywidget
import ipywidgets
import traitlets
from shiny import App, Inputs, Outputs, Session, reactive, render, ui
from shinywidgets import output_widget, reactive_read, render_widget


class Counter(anywidget.AnyWidget):
    """A button that counts."""

    value = traitlets.Int(0).tag(sync=True)
    _esm = """
    function render({ model, el }) {
        const button = document.createElement("button");
        const show = () => { button.innerText = `clicked ${model.get("value")}`; };
        button.className = "counter";
        button.onclick = () => { model.set("value", model.get("value") + 1); model.save_changes(); };
        model.on("change:value", show);
        show();
        el.appendChild(button);
    }
    export default { render };
    """


app_ui = ui.page_fluid(
    output_widget("slider"),
    ui.output_text("slid"),
    ui.input_action_button("set", "Set"),
    ui.input_action_button("draw", "Draw"),
    ui.output_ui("drawn"),
)


def server(input: Inputs, output: Outputs, session: Session):
    @render_widget
    def slider():
        return ipywidgets.IntSlider(value=5, min=0, max=10, description="Slide")

    @render.text
    def slid():
        return f"slid to {reactive_read(slider.widget, 'value')}"

    @reactive.effect
    @reactive.event(input.set)
    def set_value():
        slider.widget.value = 9

    @render.ui
    @reactive.event(input.draw)
    def drawn():
        return ui.TagList(output_widget("counter"), ui.output_text("counted"))

    @render_widget
    def counter():
        return Counter()

    @render.text
    def counted():
        return f"counted {reactive_read(counter.widget, 'value')}"


app = App(app_ui, server)
