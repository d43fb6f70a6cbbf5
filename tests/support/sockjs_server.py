"""A server that speaks to pages as Shiny Server and Connect do: workers, tokens, and SockJS around each message."""

from __future__ import annotations

import json
import re

from support.known_delays import KnownDelays


class SockJsServer(KnownDelays):
    """The same app behind such a server.

    Attributes:
        sockets: paths that websockets were asked for at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[str] = []

    async def __call__(self, scope, receive, send) -> None:
        path = scope["path"]
        if scope["type"] == "http" and path == "/":
            await self._give(send, b'<html><head><base href="_w_1a2b3c/"></head></html>')
        elif path.startswith("/_w_1a2b3c/__token__"):
            await self._give(send, b"t0k3n")
        elif scope["type"] == "websocket":
            self.sockets.append(path)
            await super().__call__(scope, self._unpacked(receive), self._packed(send))
        else:
            await super().__call__(scope, receive, send)

    async def _give(self, send, body: bytes) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": body})

    def _unpacked(self, receive):
        async def unpack():
            while (message := await receive()).get("text") == '["0#0|o|"]':
                pass
            if "text" in message:
                (inner,) = json.loads(message["text"])
                message["text"] = re.fullmatch(r"[0-9A-F]+#0\|m\|(.*)", inner)[1]
            return message

        return unpack

    def _packed(self, send):
        async def pack(message) -> None:
            if message["type"] == "websocket.send":
                message = {**message, "text": "a" + json.dumps([f"1F#0|m|{message['text']}"])}
            await send(message)
            if message["type"] == "websocket.accept":
                await send({"type": "websocket.send", "text": "o"})

        return pack
