"""A client that speaks Shiny's own protocol: a page, a websocket, and the requests that a session makes besides."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import threading
import time
from typing import Any

import websocket

from support.real_site import Reply
from support.waiting import PATIENCE


class SessionError(AssertionError):
    """A session was not served as it must be; the text says which, and how."""


class Tally:
    """How many things were tried, of which kind, and what went wrong. Sessions in many threads share one.

    Attributes:
        tried: kind ("page", "websocket", "update", "upload", ...) to how many were begun.
        failures: kind and what went wrong, for each that did.
    """

    def __init__(self) -> None:
        self.tried: collections.Counter[str] = collections.Counter()
        self.failures: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def begun(self, kind: str) -> None:
        with self._lock:
            self.tried[kind] += 1

    def failed(self, kind: str, problem: object) -> None:
        with self._lock:
            self.failures.append((kind, str(problem)))

    def __str__(self) -> str:
        tried = ", ".join(f"{count} {kind}" for kind, count in sorted(self.tried.items()))
        return f"{len(self.failures)} failures of {self.tried.total()} ({tried})"


class ShinySession:
    """One tab with a Shiny session in it. Use as a context manager, or open and close it.

    A thread of its own reads the websocket, so pings are answered and an end is noticed at any time.

    Args:
        port: of the front, on 127.0.0.1.
        path: where the app is mounted.
        cookies: the browser's, name to value, sent and kept up to date; tabs of one browser share one dictionary.
            None is a browser that neither stores nor sends any.
        outputs: which the page shows.
        inputs: what the page sends at the start.
        tally: counts.

    Attributes:
        id: the session's, as the websocket told it.
        values: the latest value of each output.
        errors: the error of each output that has one now.
        custom: the latest custom message of each type.
        received: every text message as it came.
        close_code: of the websocket once it is closed; 1006 when it broke.
        replies: of every HTTP request made.
    """

    def __init__(
        self,
        port: int,
        path: str = "/",
        *,
        cookies: dict[str, str] | None = None,
        outputs: tuple[str, ...] = (),
        inputs: dict[str, Any] | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.port = port
        self.path = path
        self.cookies = cookies
        self.outputs = outputs
        self.inputs = inputs or {}
        self.tally = tally or Tally()
        self.id = ""
        self.values: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self.custom: dict[str, Any] = {}
        self.received: list[str] = []
        self.close_code: int | None = None
        self.replies: list[Reply] = []
        self._responses: dict[int, dict[str, Any]] = {}
        self._tags = itertools.count()
        self._changed = threading.Condition()
        self._socket: websocket.WebSocket | None = None
        self._reader: threading.Thread | None = None
        self._closing = False

    # --- its life

    def open(self) -> ShinySession:
        """Load the page, connect, and begin the session.

        Raises:
            SessionError: one of these failed.
        """
        self.ask(self.path, kind="page")
        self.connect()
        return self

    def connect(self) -> None:
        """Begin the session, or a new one, as a page does that has lost its connection."""
        self.tally.begun("websocket")
        self.id, self.close_code, self._closing = "", None, False
        self.values, self.errors, self.custom, self.received = {}, {}, {}, []
        try:
            self._socket = websocket.create_connection(
                f"ws://127.0.0.1:{self.port}{self.path}websocket/",
                cookie=self._cookie_header(),
                timeout=PATIENCE,
            )
        except (OSError, websocket.WebSocketException) as error:
            raise self._failure("websocket", error) from None
        self._keep([self._socket.getheaders().get("set-cookie")])
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, args=(self._socket,), daemon=True)
        self._reader.start()
        self.until(lambda: self.id, "Shiny has told the session's id", kind="websocket")
        hidden = {f".clientdata_output_{name}_hidden": False for name in self.outputs}
        self._send({"method": "init", "data": {".clientdata_pixelratio": 1, **hidden, **self.inputs}}, "websocket")

    def close(self) -> None:
        """Close the tab."""
        self._closing = True
        if self._socket is not None:
            self._socket.close(timeout=1)
        if self._reader is not None:
            self._reader.join(PATIENCE)

    def __enter__(self) -> ShinySession:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def incarnation(self) -> str:
        """The process that the session's id names."""
        return self.id.rpartition("-")[0]

    # --- what it does over the websocket

    def update(self, **inputs: Any) -> None:
        """Send inputs; a type goes after two underscores: ``clicks__shiny_action`` is clicks:shiny.action."""
        self.tally.begun("update")
        data = {}
        for name, value in inputs.items():
            name, _, handler = name.partition("__")
            data[f"{name}:{handler.replace('_', '.')}" if handler else name] = value
        self._send({"method": "update", "data": data}, "update")

    def call(self, method: str, *args: Any) -> Any:
        """Call one of the session's own message handlers, and give what it answers."""
        tag = next(self._tags)
        self._send({"method": method, "args": args, "tag": tag}, method)
        response = self.until(lambda: self._responses.pop(tag, None), f"{method} is answered", kind=method)
        if "error" in response:
            raise self._failure(method, response["error"])
        return response["value"]

    def until(self, condition, what: str, timeout: float = PATIENCE, kind: str = "output") -> Any:
        """Wait until messages have made something true; give it.

        Raises:
            SessionError: it took too long, or the websocket was closed before.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (result := condition()) and self.close_code is None:
                if not self._changed.wait(max(0, deadline - time.monotonic())):
                    break
        if result:
            return result
        if self.close_code is not None:
            raise self._failure(kind, f"closed with {self.close_code} before {what}")
        raise self._failure(kind, f"not within {timeout} s: {what}")

    def output(self, name: str, timeout: float = PATIENCE) -> Any:
        """An output's value, once there is one."""
        return self.until(lambda: self.values.get(name), f"{name} has a value", timeout)

    # --- what it does by HTTP

    def ask(self, url: str, kind: str = "request", method: str = "GET", body: bytes | None = None) -> Reply:
        """Make a request; a URL without a slash at its start is relative to the page.

        Raises:
            SessionError: it broke, or its status is not 200.
        """
        reply = self.try_(url, kind, method, body)
        if reply.status != 200:
            raise self._failure(kind, f"{method} {url}: {reply.status} {reply.body[:100]!r}")
        return reply

    def try_(self, url: str, kind: str = "request", method: str = "GET", body: bytes | None = None) -> Reply:
        """Make a request that may be answered with any status."""
        self.tally.begun(kind)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        cookie = self._cookie_header()
        try:
            path = url if url.startswith("/") else self.path + url
            connection.request(method, path, body=body, headers={"Cookie": cookie} if cookie else {})
            reply = Reply(connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(kind, f"{method} {url}: {error!r}") from None
        finally:
            connection.close()
        self._keep(reply.set_cookies)
        self.replies.append(reply)
        return reply

    def upload(self, input_id: str, name: str, file: bytes) -> None:
        """Upload a file as an input of the page; the input has it when this returns."""
        info = {"name": name, "size": len(file), "type": "application/octet-stream"}
        job = self.call("uploadInit", [info])
        self.ask(job["uploadUrl"], kind="upload", method="POST", body=file)
        self.call("uploadEnd", job["jobId"], input_id)

    def download(self, output_id: str) -> bytes:
        """What a download button gives; its URL is the value of its output."""
        return self.ask(self.output(output_id), kind="download").body

    # --- the machinery

    def _read(self, socket: websocket.WebSocket) -> None:
        """Take every message until the end."""
        code = 1006
        try:
            while True:
                opcode, data = socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
                    break
                with self._changed:
                    self._take(data.decode())
                    self._changed.notify_all()
        except (OSError, websocket.WebSocketException):
            pass
        with self._changed:
            self.close_code = code
            self._changed.notify_all()
        if not self._closing:
            self.tally.failed("session", f"{self.id} was closed with {code}")

    def _take(self, text: str) -> None:
        self.received.append(text)
        message = json.loads(text)
        if "config" in message:
            self.id = message["config"]["sessionId"]
        self.values |= message.get("values") or {}
        self.errors = {
            name: text for name, text in self.errors.items() if name not in (message.get("values") or {})
        }
        self.errors |= message.get("errors") or {}
        self.custom |= message.get("custom") or {}
        if "response" in message:
            self._responses[message["response"]["tag"]] = message["response"]

    def _send(self, message: dict[str, Any], kind: str) -> None:
        assert self._socket is not None, "it was never opened"
        try:
            self._socket.send(json.dumps(message))
        except (OSError, websocket.WebSocketException) as error:
            raise self._failure(kind, error) from None

    def _failure(self, kind: str, problem: object) -> SessionError:
        self.tally.failed(kind, problem)
        return SessionError(f"{kind} of {self.id or 'a session without id'}: {problem}")

    def _cookie_header(self) -> str | None:
        return "; ".join(f"{name}={value}" for name, value in (self.cookies or {}).items()) or None

    def _keep(self, set_cookies: list[str | None]) -> None:
        if self.cookies is not None:
            for cookie in filter(None, set_cookies):
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
