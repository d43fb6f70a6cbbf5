"""Shiny's own protocol, as its pages speak it: a websocket, and requests below ``/session/<id>/`` beside it.

Any app of Shiny for Python, whatever it shows, answers these:

========================================== ============================ =================================
request                                    in the session's process     in any other
========================================== ============================ =================================
``POST`` to what ``uploadInit`` has named  200                          404
``GET session/<id>/dynamic_route/<none>``  400, there is no such route  404, there is no such session
========================================== ============================ =================================

An upload that no ``uploadEnd`` follows never becomes an input of the app's, and its file goes with the session.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from shiny_sticky.client.address import Address
from shiny_sticky.client.visitor import NotAnswered, Visitor
from shiny_sticky.client.websocket import BROKEN, Closed, WebSocket
from shiny_sticky.settings.names import INCARNATION

# Seconds for what a session is asked over its websocket.
PATIENCE = 20

ROUTE = "shiny-sticky-verify"
FILE = b"verified"

OF_ITS_PROCESS = 200
NO_SUCH_ROUTE = 400

_SCRIPT = re.compile(r"""<script[^>]+src=["'][^"']*\bshiny(?:\.min)?\.js""", re.IGNORECASE)

Found = TypeVar("Found")


class NoSession(Exception):
    """A session did not begin, or does not answer; says why, in the middle of a sentence."""


def is_page(html: str) -> bool:
    """Whether a page is one of Shiny's."""
    return _SCRIPT.search(html) is not None


def websocket_of(page: Address) -> Address:
    """Where a page opens its websocket: below its path, whether that ends in a slash or not."""
    path = page.path.partition("?")[0]
    return page.relative(f"{path.rstrip('/')}/websocket/")


class ShinySession:
    """The session of one tab. A thread of its own reads the websocket, so pings are answered at any time.

    Args:
        visitor: whose tab it is.
        page: the page's address.

    Attributes:
        id: the session's, as Shiny has told it.
        heard: when the last message came, by the monotonic clock.
        code: that the websocket was closed with; None while it is open.
    """

    def __init__(self, visitor: Visitor, page: Address) -> None:
        self.visitor = visitor
        self.page = page
        self.id = ""
        self.heard = time.monotonic()
        self.code: int | None = None
        self._responses: dict[int, dict[str, Any]] = {}
        self._tags = itertools.count()
        self._changed = threading.Condition()
        self._websocket: WebSocket | None = None

    @property
    def process(self) -> str:
        """The name of the process that the session is in, where its id has one: shiny-sticky's have."""
        process, _, _ = self.id.rpartition("-")
        return process if INCARNATION.fullmatch(process) else ""

    @property
    def pings(self) -> int:
        """How often the server has asked whether the page is there."""
        return self._websocket.pings if self._websocket else 0

    def open(self) -> ShinySession:
        """Open the websocket, and begin the session.

        Raises:
            Refused: the handshake was answered otherwise than with 101.
            NoSession: the websocket cannot be opened, or Shiny does not begin.
            Stopped: nothing more is sent.
        """
        try:
            self._websocket = self.visitor.open_websocket(websocket_of(self.page), self.page.origin)
        except NotAnswered as error:
            raise NoSession(f"the websocket got {error}") from None
        threading.Thread(target=self._read, args=(self._websocket,), daemon=True).start()
        try:
            self._until(lambda: self.id, "Shiny's first message")
            self._send({"method": "init", "data": self._first_data()})
        except NoSession:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Close the tab."""
        if self._websocket is not None:
            self._websocket.close()

    def cut(self) -> None:
        """Let the network go away under the tab."""
        if self._websocket is not None:
            self._websocket.cut()

    def wait(self, seconds: float) -> bool:
        """Wait for the websocket's end; whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: self.code is not None, seconds)

    def upload_address(self) -> Address:
        """Where this session wants a small file; nothing is sent there yet.

        Raises:
            NoSession: it does not say so.
        """
        info = {"name": "verify.txt", "size": len(FILE), "type": "text/plain"}
        job = self._call("uploadInit", [info])
        try:
            return self.page.relative(job["uploadUrl"])
        except (TypeError, KeyError, ValueError):
            raise NoSession("it names no place for an upload") from None

    def route_address(self) -> Address:
        """What only the session's own process answers with :data:`NO_SUCH_ROUTE`."""
        return self.page.relative(f"session/{self.id}/dynamic_route/{ROUTE}")

    def _first_data(self) -> dict[str, Any]:
        path, _, query = self.page.path.partition("?")
        return {
            ".clientdata_pixelratio": 1,
            ".clientdata_url_protocol": f"{self.page.scheme}:",
            ".clientdata_url_hostname": self.page.host,
            ".clientdata_url_port": self.page.authority.rpartition(":")[2] if ":" in self.page.authority else "",
            ".clientdata_url_pathname": path,
            ".clientdata_url_search": f"?{query}" if query else "",
            ".clientdata_url_hash_initial": "",
            ".clientdata_url_hash": "",
            ".clientdata_singletons": "",
        }

    def _call(self, method: str, *args: Any) -> Any:
        """Call one of Shiny's own message handlers, and give what it answers."""
        tag = next(self._tags)
        self._send({"method": method, "args": args, "tag": tag})
        response = self._until(lambda: self._responses.pop(tag, None), f"the answer to {method}")
        if "error" in response:
            raise NoSession(f"{method} was answered with {str(response['error'])[:100]}")
        return response.get("value")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._websocket is not None
        try:
            self._websocket.send(json.dumps(message))
        except Closed as closed:
            raise NoSession(f"the websocket is {closed}") from None

    def _until(self, condition: Callable[[], Found | None], what: str) -> Found:
        """Wait until messages have made something true; give it."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while not (found := condition()) and self.code is None:
                if not self._changed.wait(max(0, deadline - time.monotonic())):
                    break
        if found:
            return found
        if self.code is not None:
            raise NoSession(f"the websocket was closed with {self.code} before {what}")
        raise NoSession(f"{what} did not come within {PATIENCE} s")

    def _read(self, websocket: WebSocket) -> None:
        code = BROKEN
        try:
            while True:
                message = websocket.receive()
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        except Closed as closed:
            code = closed.code
        finally:
            with self._changed:
                self.code = code
                self._changed.notify_all()

    def _take(self, text: str | bytes) -> None:
        self.heard = time.monotonic()
        try:
            message = json.loads(text)
            if "config" in message:
                self.id = message["config"]["sessionId"]
            if "response" in message:
                self._responses[message["response"]["tag"]] = message["response"]
        except (TypeError, KeyError, ValueError):  # nothing of Shiny's
            return
