"""Sticky hosting of Shiny for Python, and any stateful ASGI app, on many processes behind nginx."""

__version__ = "0.1.0"
