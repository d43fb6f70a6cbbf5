"""Who has come to a worker, and is about to have a session: the launcher sends the next ones by that."""

from __future__ import annotations

import asyncio
import re
from collections import deque

from .asgi import Message, Scope

# By it a worker says that it has answered; nginx reads and hides it.
WORKER_HEADER = "X-Sticky-Worker"

# Seconds in which a page that was served opens its websocket, over a slow network too.
PAGE_SECONDS = 10

# The extension of a request's scope by which it is nobody's: no session comes of its page.
NOBODY = "sticky.nobody"


class Visitors:
    """Counts visitors who have no session yet.

    Args:
        incarnation: the process's name, such as ``app2.k3f9``.
        cookie: the name of the cookie that names its worker.

    Attributes:
        pages_taken: pages served since the start to those who did not name this worker, those to wait on, too.
        sessions_taken: handshakes of such visitors since the start.
    """

    def __init__(self, incarnation: str, cookie: str) -> None:
        self.pages_taken = 0
        self.sessions_taken = 0
        self._own_urls = f"/session/{incarnation}-"
        worker = incarnation.partition(".")[0]
        self._own_cookie = re.compile(rf"(?:^|;)[ \t]*{re.escape(cookie)}={worker}[ \t]*(?:;|$)".encode())
        self._pages: deque[float] = deque()  # when each is expected no more

    @property
    def expected(self) -> int:
        """The pages whose websockets are about to come."""
        while self._pages and self._pages[0] <= asyncio.get_running_loop().time():
            self._pages.popleft()
        return len(self._pages)

    def page(self, scope: Scope) -> None:
        """A page is served."""
        if NOBODY in scope.get("extensions", {}):
            return
        self._pages.append(asyncio.get_running_loop().time() + PAGE_SECONDS)
        self.pages_taken += not self.is_named(scope)

    def turned_away(self, scope: Scope) -> None:
        """A page that says to wait is served; it has taken a seat as any other has, and no session comes of it."""
        self.pages_taken += not self.is_named(scope)

    def handshake(self, scope: Scope) -> None:
        """A websocket has come; likely of a page that was expected."""
        if self.expected:
            self._pages.popleft()
        self.sessions_taken += not self.is_named(scope)

    def turn_away(self, scope: Scope) -> bool:
        """A websocket has come that has no place here, and neither has its page then, if it names this worker.

        Returns:
            Whether it does; else it has come by a seat.
        """
        named = self.is_named(scope)
        if named and self.expected:
            self._pages.popleft()
        return named

    def is_named(self, scope: Scope) -> bool:
        """Whether the visitor has come because a cookie or URL names this worker, not by a seat."""
        cookies = (value for name, value in scope["headers"] if name == b"cookie")
        return self._own_urls in scope["path"] or any(self._own_cookie.search(value) for value in cookies)


def is_page(message: Message) -> bool:
    """Whether a response's start is that of a page."""
    headers = message.get("headers", ())
    return message["status"] == 200 and any(
        name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers
    )
