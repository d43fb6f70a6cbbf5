"""Keeps the last bookmark of each session, where the app has bookmarks."""

from __future__ import annotations

from typing import Any

from .. import shiny_apps
from ..asgi import ASGIApp, Message, Receive, Scope, Send
from ..last_bookmark import LastBookmark
from ..resume.middleware import CARRIER
from .session_tags import session_id


class BookmarkMiddleware:
    """Notes what passes between Shiny's sessions and their pages, after which there may be something new to keep.

    Args:
        app: the ASGI app; if its websockets do not begin like Shiny's, they pass as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket" and CARRIER in scope:
            watch = _Watch(receive, send, scope[CARRIER])
            receive, send = watch.receive, watch.send
        await self.app(scope, receive, send)


class _Watch:
    """One websocket.

    Args:
        receive: the server's.
        send: likewise.
        opening: has what carries it.
    """

    def __init__(self, receive: Receive, send: Send, opening: Any) -> None:
        self._receive = receive
        self._send = send
        self._opening = opening
        self._begun = False
        self._bookmark: LastBookmark | None = None

    async def receive(self) -> Message:
        """The app's next message."""
        message = await self._receive()
        if self._bookmark is not None and message["type"] == "websocket.receive":
            self._bookmark.note_change()
        return message

    async def send(self, message: Message) -> None:
        """Take a message of the app's; the first one tells whose it is."""
        await self._send(message)
        if message["type"] != "websocket.send":
            return
        if not self._begun:
            self._begun = True
            session = _session(session_id(message.get("text") or ""))
            if session is not None and self._opening.session is not None:
                self._bookmark = LastBookmark(session, self._opening.session)
        elif self._bookmark is not None:
            self._bookmark.note_change()


def _session(name: str) -> Any:
    """The Shiny session of an id, if its app has bookmarks."""
    for app in shiny_apps.imported():
        if name in app._sessions and app.bookmark_store != "disable":
            return app._sessions[name]
    return None


def has_bookmarks() -> bool:
    """Whether an app that was imported has bookmarks; older Shinys have none."""
    return any(getattr(app, "bookmark_store", "disable") != "disable" for app in shiny_apps.imported())
