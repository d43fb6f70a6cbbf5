"""A session's URLs name its process: ``/session/app2.k3f9-<id>/…`` instead of Shiny's ``/session/<id>/…``.

Shiny itself tells the browser its session's id, as the first message of the websocket, and sends every URL of the
session over it: for uploads, downloads and dynamic routes. So nothing but the websocket's text has to be changed.
"""

from __future__ import annotations

import json
import re

from ..asgi import ASGIApp, Message, Receive, Scope, Send

# Shiny's ids have 64 hexadecimal digits. What is much shorter may stand in a text for something else.
SESSION_ID = re.compile(r"[0-9A-Za-z]{16,}")


class SessionTagMiddleware:
    """Puts a process's name before the ids of its sessions on their way out, and takes it off on their way in.

    Args:
        app: the ASGI app; if its websockets do not begin like Shiny's, their messages pass as they are.
        incarnation: the process's name, such as ``app2.k3f9``.
    """

    def __init__(self, app: ASGIApp, incarnation: str) -> None:
        self.app = app
        self._tag = f"{incarnation}-"
        self._tagged = f"/session/{self._tag}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and self._tagged in scope["path"]:
            scope = self._untag(scope)
        elif scope["type"] == "websocket":
            send = self._tagging(send)
        await self.app(scope, receive, send)

    def _untag(self, scope: Scope) -> Scope:
        """The scope with the path that Shiny knows, wherever in it the app is mounted."""
        scope = {**scope, "path": scope["path"].replace(self._tagged, "/session/", 1)}
        if scope.get("raw_path"):  # ASGI lets servers leave it out
            scope["raw_path"] = scope["raw_path"].replace(self._tagged.encode(), b"/session/", 1)
        return scope

    def _tagging(self, send: Send) -> Send:
        """The `send` of a websocket that tags its session's id, if its first message tells one."""
        session: str | None = None  # until the first message has been sent

        async def send_tagged(message: Message) -> None:
            nonlocal session
            if message["type"] == "websocket.send":
                text = message.get("text") or ""
                if session is None:
                    session = session_id(text)
                if session and session in text:
                    # What came back from the browser has its tag already; it gets no second one.
                    bare = text.replace(self._tag + session, session)
                    message = {**message, "text": bare.replace(session, self._tag + session)}
            await send(message)

        return send_tagged


def session_id(text: str) -> str:
    """The id that Shiny's first message, ``{"config": {"sessionId": "…"}}``, tells; empty for any other text."""
    if '"sessionId"' not in text:
        return ""
    try:
        found = json.loads(text)["config"]["sessionId"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) and SESSION_ID.fullmatch(found) else ""
