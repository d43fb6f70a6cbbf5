"""A server that speaks Shiny's protocol, and whose delays are known: it has noted how long each answer took it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from support.real_site import free_port
from support.waiting import until


class KnownDelays:
    """An ASGI app with a page, a file, and sessions whose outputs come after known times.

    Args:
        delay: seconds that an output takes, by its name and the number of open sessions.
        shuffled: whether the outputs of an update come one by one, the last one first.

    Attributes:
        took: the seconds that each answer took, by output; what the app itself has measured.
        sessions: open now.
        most: that were open at once.
        headers: of the requests that came.
    """

    def __init__(
        self, delay: Callable[[str, int], float] = lambda name, sessions: 0, shuffled: bool = False
    ) -> None:
        self.took: dict[str, list[float]] = defaultdict(list)
        self.sessions = self.most = 0
        self.headers: list[dict[str, str]] = []
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.said: list[str] = []
        self._delay = delay
        self._shuffled = shuffled
        self._ids = 0

    async def __call__(self, scope, receive, send) -> None:
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        if scope["type"] == "websocket":
            await self._session(receive, send)
        else:
            await self._page(scope, receive, send)

    async def _page(self, scope, receive, send) -> None:
        began = time.monotonic()
        self.requests.append(scope["path"])
        body = b""
        while (part := await receive()).get("more_body"):
            body += part["body"]
        self.bodies.append(body + part.get("body", b""))
        await asyncio.sleep(self._delay(scope["path"], self.sessions))
        status = 404 if scope["path"].endswith("/none") else 200
        headers = [(b"content-type", b"text/html"), (b"set-cookie", b"sticky=app2; Path=/; HttpOnly")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"<html>" + 2000 * b"x"})
        self.took[scope["path"]].append(time.monotonic() - began)

    async def _session(self, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._ids += 1
        self.sessions += 1
        self.most = max(self.most, self.sessions)
        name = f"app1.abcd-{self._ids:032x}"
        await self._say(send, {"config": {"workerId": "", "sessionId": name, "user": None}})
        try:
            while (message := await receive())["type"] == "websocket.receive":
                began = time.monotonic()
                self.said.append(message["text"])
                await self._answer(json.loads(message["text"]), began, name, send)
        finally:
            self.sessions -= 1

    async def _answer(self, said, began: float, name: str, send) -> None:
        if said["method"] == "uploadInit":
            value = {"jobId": f"job{self._ids}", "uploadUrl": f"session/{name}/upload/job{self._ids}?w="}
            await self._say(send, {"response": {"tag": said["tag"], "value": value}})
            return
        if said["method"] == "uploadEnd":
            await self._say(send, {"response": {"tag": said["tag"], "value": None}})
            return
        await self._say(send, {"busy": "busy"})
        outputs = sorted(key.partition(":")[0] for key in said["data"])
        for output in reversed(outputs) if self._shuffled else [",".join(outputs)]:
            await asyncio.sleep(self._delay(output, self.sessions))
            values = {part: "1" for part in output.split(",") if part}
            await self._say(send, {"values": values, "inputMessages": [], "errors": {}})
            self.took[output].append(time.monotonic() - began)

    async def _say(self, send, what) -> None:
        await send({"type": "websocket.send", "text": json.dumps(what)})

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its address, while a block runs."""
        port = free_port()
        config = uvicorn.Config(self, port=port, lifespan="off", log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            until(lambda: server.started, "the server with known delays is up")
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.should_exit = True
            thread.join()
