"""What a worker is serving, and when it may end: the worker's side of a deploy (supervision/deploy.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ConnectionTracker:
    """Counts what an app is serving, and knows when it may end.

    Args:
        app: the ASGI app.
        max_sessions: websockets that may be open at a time; 0 is no limit.
        page: the path of a page to render before anything else; empty for none.

    Attributes:
        sessions: websockets that are open now.
        served: websockets accepted in all.
        requests: HTTP requests in progress.
        draining: no new connection is kept; once nothing is open any more, `on_idle` is called.
        on_drain: called when that begins.
    """

    def __init__(self, app: Any, max_sessions: int = 0, page: str = "") -> None:
        self.app = app
        self.page = page
        self.max_sessions = max_sessions
        self.sessions = 0
        self.served = 0
        self.requests = 0
        self.draining = False
        self.on_drain: Callable[[], None] = lambda: None
        self.on_idle: Callable[[], None] = lambda: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, and count it."""
        if scope["type"] == "http":
            self.requests += 1
            try:
                await self.app(scope, receive, self._closing(send) if self.draining else send)
            finally:
                self.requests -= 1
                self._check()
        elif scope["type"] == "websocket":
            self.sessions += 1
            self.served += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.sessions -= 1
                self._check()
        else:
            await self.app(scope, receive, send)

    @property
    def full(self) -> bool:
        """Whether no other session is welcome."""
        return self.draining or 0 < self.max_sessions <= self.sessions

    def drain(self) -> None:
        """Wait for the end of what is open, and begin nothing that lasts."""
        self.draining = True
        self.on_drain()
        self._check()

    def _check(self) -> None:
        if self.draining and not self.sessions and not self.requests:
            self.on_idle()

    @staticmethod
    def _closing(send: Any) -> Any:
        """Let the response end its connection, so that nginx sends nothing more on it."""

        async def send_closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        return send_closing
