"""Requests to an app that takes long to wake: the launcher answers them, or holds them until a worker can.

Who asks for a page gets one that says what is going on, and follows by itself. All else waits. As the launcher has
accepted these connections already, it passes on itself what comes on them. Not so websockets, which would stay for
hours: on their handshakes it hangs up, and nginx takes them to the next worker, as it does if one is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket

from shiny_sticky import resources
from shiny_sticky.concurrency import in_parallel
from shiny_sticky.supervision.activation import ActivationSocket
from shiny_sticky.supervision.answers import http_answer
from shiny_sticky.supervision.rundir import RunDir

# Seconds in which nginx sends the head of a request, which it has in full before it connects.
HEAD_SECONDS = 10

# Bytes of the head of a request; nginx takes no more from a browser.
LONGEST_HEAD = 64 * 1024

RETRY_SECONDS = 2

UNAVAILABLE = "No process of the app can be reached at the moment. Nothing was begun: send it again.\n"


class HeldRequests:
    """The requests that came while the workers of an app were started, which takes longer than people like to wait.

    Args:
        run_dir: where the workers' sockets are.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._awake: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, waiting: ActivationSocket) -> None:
        """Accept who has connected to a worker that does not serve yet, and whoever still does."""

        def begin(connection: socket.socket) -> None:
            task = asyncio.create_task(self._hold(connection, waiting.worker))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        waiting.answer(begin)

    def decide(self, awake: bool) -> None:
        """Let all that is held go on, or be refused.

        Args:
            awake: whether the workers serve by now; else they cannot be started.
        """
        if not self._awake.done():
            self._awake.set_result(awake)

    async def _hold(self, connection: socket.socket, worker: str) -> None:
        """Answer one connection, whatever becomes of it."""
        reader, writer = await asyncio.open_connection(sock=connection, limit=LONGEST_HEAD)
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            if not self._awake.done() and asks_for_page(head):
                await _answer(writer, head, "waking.html")
            elif not await self._awake:
                await _answer(writer, head, "unavailable.html" if asks_for_page(head) else "")
            elif not _opens_websocket(head):
                await self._pass_on(head, reader, writer, worker)

    async def _pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, worker: str
    ) -> None:
        """Let a worker answer, until it or nginx closes the connection."""
        from_worker, to_worker = await asyncio.open_unix_connection(str(self._run_dir.link_of(worker)))
        with contextlib.closing(to_worker):
            to_worker.write(head)
            await in_parallel([_copy(reader, to_worker), _copy(from_worker, writer)])


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy what comes until the end, which is passed on as well."""
    while data := await source.read(LONGEST_HEAD):
        target.write(data)
        await target.drain()
    target.close()


def asks_for_page(head: bytes) -> bool:
    """Whether a browser asks for what it is going to show: no program, no script of a page, no websocket.

    Args:
        head: of the request, with its last empty line.
    """
    if not re.match(rb"(GET|HEAD) ", head) or _opens_websocket(head):
        return False
    if mode := re.search(rb"\r\nsec-fetch-mode: *([a-z-]+)", head, re.IGNORECASE):
        return mode[1].lower() == b"navigate"
    return re.search(rb"\r\naccept:[^\r]*text/html", head, re.IGNORECASE) is not None


def _opens_websocket(head: bytes) -> bool:
    return re.search(rb"\r\nupgrade: *websocket", head, re.IGNORECASE) is not None


async def _answer(writer: asyncio.StreamWriter, head: bytes, page: str) -> None:
    """Answer that nothing serves yet: 503.

    Args:
        writer: of the connection.
        head: of the request.
        page: a file in conf/; empty for a line of text.
    """
    text = resources.path(f"conf/{page}").read_text(encoding="utf-8") if page else UNAVAILABLE
    body = text.encode()
    content_type = f"text/{'html' if page else 'plain'}; charset=utf-8"
    answer = http_answer("503 Service Unavailable", content_type, body, RETRY_SECONDS)
    writer.write(answer.removesuffix(body) if head.startswith(b"HEAD ") else answer)
    await writer.drain()
