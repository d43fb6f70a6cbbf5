"""The same as errors.py, but what went wrong is nobody's business; except that the server prints everything."""

from errors import app_ui, server
from shiny import App

app = App(app_ui, server, debug=True)
app.sanitize_errors = True
