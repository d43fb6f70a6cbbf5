"""OpenTelemetry: what Shiny traces is exported by a thread that is started with the app, as most apps do."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shiny import App, Inputs, Outputs, Session, reactive, render, ui

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
trace.set_tracer_provider(provider)

app_ui = ui.page_fluid(ui.input_numeric("n", "n", 1), ui.output_text("square"), ui.output_code("spans"))


def server(input: Inputs, output: Outputs, session: Session):
    @reactive.calc
    def squared():
        with trace.get_tracer("app").start_as_current_span("own work"):
            return input.n() ** 2

    @render.text
    def square():
        return f"square: {squared()}"

    @render.text
    def spans():
        reactive.invalidate_later(0.2)
        mine = [
            span
            for span in exporter.get_finished_spans()
            if span.attributes.get("session.id", session.id) == session.id
        ]
        return "\n".join(sorted({span.name for span in mine}))


app = App(app_ui, server)
