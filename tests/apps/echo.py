"""An ASGI app without Shiny that tells who serves, what arrived, and does what the query asks for."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import time
from pathlib import Path
from urllib.parse import parse_qsl

ME = {}  # what tests add
print("echo is loaded")


def me():
    """Who serves, as of now: the process that imported this may have forked the one that answers."""
    names = {name: os.environ.get(f"STICKY_{name.upper()}") for name in ("worker", "incarnation")}
    return {**ME, **names, "pid": os.getpid()}


async def app(scope, receive, send):
    if scope["type"] == "http":
        await answer(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo(scope, receive, send)


async def answer(scope, receive, send):
    asked = dict(parse_qsl(scope["query_string"].decode()))
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)

    if "note" in asked:  # leave a trace that outlives the process
        with Path(os.environ["NOTES"]).open("a") as notes:
            notes.write(f"{scope['method']} {asked['note']} {me()['worker']}\n")
    if "print" in asked:
        print(asked["print"])
    if "sleep" in asked:
        await asyncio.sleep(float(asked["sleep"]))
    if "die" in asked:
        refuse_connections()
        os.kill(os.getpid(), signal.SIGKILL)

    status = int(asked.get("status", 200))
    headers = [(b"content-type", b"application/json")]
    if "header" in asked:
        headers.append((asked["header"].encode(), asked["value"].encode()))
    if "redirect" in asked:
        status, headers = 302, [*headers, (b"location", asked["redirect"].encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if "chunks" in asked:  # wait for a file between one chunk and the next
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while not Path(asked["chunks"]).exists():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"second"})
        return
    seen = {
        **me(),
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "root_path": scope["root_path"],
        "scheme": scope["scheme"],
        "client": scope["client"] and scope["client"][0],
        "headers": {name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "env": os.environ.get("GREETING"),
        "uid": os.getuid(),
    }
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


def refuse_connections():
    """Listen no more: the system closes a dying process's connections first, and until the rest takes new ones."""
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                copy.shutdown(socket.SHUT_RDWR)


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(me())})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "headers":
            message["text"] = str(scope["headers"])
        if message.get("text") == "hang":  # the event loop, not just this session
            time.sleep(3600)
        await send({"type": "websocket.send", "text": message.get("text")})
