"""One worker process: loads the app and serves it with uvicorn.

This package runs in the app's own interpreter, which needs uvicorn (and shiny, for Shiny apps) and nothing else: it
imports nothing from outside itself but uvicorn, and is started by its path. Python 3.9 or later.
"""
