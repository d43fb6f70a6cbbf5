"""The app of core_app.py, whose process takes a while for each connection: its neighbours take the next ones."""

import time

import core_app


async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        time.sleep(0.02)
    await core_app.app(scope, receive, send)
