"""Answers with the headers that the path's last part names, and tells what it was asked for.

``/kept/vary=Cookie&vary=Accept-Encoding`` has two Vary lines. Each answer is another: it has a token.
"""

import json
import secrets
from urllib.parse import parse_qsl


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    asked = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    named = parse_qsl(scope["path"].rpartition("/")[2])
    told = {
        "token": secrets.token_hex(),
        "query": scope["query_string"].decode(),
        "authorization": asked.get("authorization"),
        "padding": "worth compressing " * 50,
    }
    headers = [(name.encode(), value.encode()) for name, value in named]
    headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
