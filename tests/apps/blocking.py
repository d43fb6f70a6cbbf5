"""An ASGI app that sends something, then computes without ever letting the event loop go on."""

import asyncio
import json
import sys
import time
from pathlib import Path

LONGEST = 20  # seconds that a computation takes if nobody ends it


def compute(end: str) -> None:
    """Keep the event loop busy until a file is there."""
    deadline = time.monotonic() + LONGEST
    while not Path(end).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def served_with() -> str:
    """The event loop's package, and the protocols that uvicorn has chosen."""
    protocols = [name for name in sys.modules if name.startswith("uvicorn.protocols.") and name.endswith("_impl")]
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    return json.dumps([loop, *sorted(name.rpartition(".")[2] for name in protocols)])


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": served_with()})
        while (message := await receive())["type"] == "websocket.receive":
            for step in ("begun", "half done"):
                await send({"type": "websocket.send", "text": step})
                compute(f"{message['text']} {step}")
            await send({"type": "websocket.send", "text": "done"})
    elif scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for step in ("begun", "half done"):
            await send({"type": "http.response.body", "body": step.encode(), "more_body": True})
            compute(f"{scope['query_string'].decode()} {step}")
        await send({"type": "http.response.body", "body": b"done"})
