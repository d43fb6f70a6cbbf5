"""An ASGI app without Shiny that counts both ways, as counting_app.py does: what is lost, doubled or moved shows.

It sends "0", "1", ... every 0.1 s, and takes the same; what comes out of order is told at once. "report" is
answered with how many have come. "fill <bytes>" is answered with so many letters, "<code>" closes the websocket.
"""

import asyncio
import itertools
import json
import os


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": os.environ["STICKY_INCARNATION"].encode()})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        counting = asyncio.create_task(count(send)) if b"quiet" not in scope["query_string"] else None
        try:
            await take(receive, send)
        finally:
            if counting is not None:
                counting.cancel()


async def count(send):
    for number in itertools.count():
        await send({"type": "websocket.send", "text": str(number)})
        await asyncio.sleep(0.1)


async def take(receive, send):
    expected = 0
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            print(f"over: {message['code']}")
            return
        text = message.get("text")
        if text is None:
            await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})
        elif text == "report":
            await send({"type": "websocket.send", "text": json.dumps({"taken": expected})})
        elif text.startswith("fill "):
            await send({"type": "websocket.send", "text": "x" * int(text[5:])})
        elif text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text[6:])})
            return
        elif int(text) == expected:
            expected += 1
        else:
            await send({"type": "websocket.send", "text": json.dumps({"wrong": text, "expected": expected})})
