"""Serving an app with uvicorn on the socket that the launcher bound."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import signal
import socket
import sys
from collections import deque
from typing import cast

import uvicorn

from .asgi import ASGIApp
from .control_channel import ControlChannel
from .draining import WorkerState
from .message_compression import compressing
from .notices import ANNOUNCEMENT, NEW_VERSION, STOPPING, Notice
from .options import WorkerOptions
from .protocol import Announce, Beat, Gate, Ready, Stopping, Superseded
from .transport import behind_nginx
from .visitors import WORKER_HEADER
from .warm_up import render_page

# nginx closes idle connections to a worker after 60 s. The worker waits longer, so that it never closes one
# that nginx is just sending a request on: a POST could not be repeated.
KEEP_ALIVE_SECONDS = 75

BEAT_SECONDS = 1

# Beats over which the event loop's lateness is averaged.
LATE_BEATS = 10

# What anyio imports when it is first used; it takes 25 ms.
WITH_FIRST_FILE = ("anyio._backends._asyncio", "anyio._core._fileio")

# The first version of uvloop that does.
WRITES_AT_ONCE = (0, 23)


class Server(uvicorn.Server):
    """A uvicorn server that tells the launcher how it is, and drains at SIGUSR2.

    Args:
        config: loaded.
        state: what is open.
        channel: the launcher is told on it.
        drain_timeout: seconds that sessions get from then on, before they are closed (1012, service restart).
        page: the path of a Shiny app's page; empty for other apps.
        renders: whether that is rendered before anything else.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: WorkerState,
        channel: ControlChannel,
        drain_timeout: float,
        page: str,
        renders: bool,
    ) -> None:
        super().__init__(config)
        self._state = state
        self._channel = channel
        self._drain_timeout = drain_timeout
        self._page = page
        self._renders = renders
        self._telling = False
        self._late: deque[float] = deque(maxlen=LATE_BEATS)  # seconds
        self._beats: asyncio.Task[None] | None = None
        self._drain_task: asyncio.Task[None] | None = None
        self._drain_ends = math.inf  # by the event loop's clock

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR2, self._start_draining)
            self._channel.on_message = lambda message: loop.call_soon_threadsafe(self._obey, message)
            if self._page and self._renders:
                await render_page(cast("ASGIApp", self.config.app), self._page)
            self._channel.tell(Ready(shiny=bool(self._page)))
            self._state.on_change = self._tell_soon
            self._beats = asyncio.create_task(self._beat())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open, and end."""
        for prepare in self._state.before_exit:
            prepare()
        await super().shutdown(sockets=sockets)

    async def _beat(self) -> None:
        """Give the launcher a sign of life from the event loop, every second."""
        loop = asyncio.get_running_loop()
        while True:
            self._tell()
            due = loop.time() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._late.append(max(0.0, loop.time() - due))

    def _tell_soon(self) -> None:
        """Let the launcher know of a change, together with what else changes in this step of the event loop."""
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        state = self._state
        self._channel.tell_now(
            Beat(
                sessions=state.sessions,
                sessions_served=state.sessions_served,
                suspended=min(state.suspended, state.sessions),  # the app may have just left one
                expected=state.expected,
                pages_taken=state.visitors.pages_taken,
                sessions_taken=state.visitors.sessions_taken,
                idle=state.idle_seconds,
                late=round(1000 * sum(self._late) / LATE_BEATS),
                admitted=state.gate.admitted,
            )
        )

    def _obey(self, message: object) -> None:
        """Take a message of the launcher's."""
        if isinstance(message, Superseded):
            self._state.notices.put(Notice(NEW_VERSION))
        elif isinstance(message, Announce):
            self._state.notices.put(Notice(ANNOUNCEMENT, text=message.text))
        elif isinstance(message, Gate):
            self._state.gate.obey(message)
        elif isinstance(message, Stopping):
            now = asyncio.get_running_loop().time()
            ends_at = min(now + message.seconds, now + self._drain_timeout, self._drain_ends)
            self._state.notices.put(Notice(STOPPING, ends_at=ends_at))

    def _start_draining(self) -> None:
        if self._drain_task is None:
            self._drain_ends = asyncio.get_running_loop().time() + self._drain_timeout
            self._drain_task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        """Keep the open sessions and their requests until they end, but let nginx bring nobody new; then end."""
        self._state.start_draining()
        for connection in list(self.server_state.connections):
            if isinstance(connection, self.config.http_protocol_class):
                connection.shutdown()  # now if it is idle, else with the response
        warning = asyncio.create_task(self._state.notices.warn_before_end(self._drain_timeout))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._state.idle(), self._drain_timeout)
        warning.cancel()
        self.should_exit = True


def event_loop() -> str:
    """The event loop to serve with, by uvicorn's name: one that writes at once.

    uvloop before 0.23 keeps what is written until the next step of the loop. That comes after a computation, and so
    would what an app shows of its progress.
    """
    try:
        import uvloop
    except ImportError:  # in an interpreter of the app's own, which needs none
        return "asyncio"
    major, minor = uvloop.__version__.split(".")[:2]  # type: ignore[attr-defined]
    return "uvloop" if (int(major), int(minor)) >= WRITES_AT_ONCE else "asyncio"


def load_server() -> None:
    """Import all that uvicorn serves with, as it would itself, and Starlette files; no event loop is made."""
    for module in WITH_FIRST_FILE if "anyio" in sys.modules else ():
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    config = uvicorn.Config(render_page, log_config=None, loop=event_loop())
    config.load()
    if hasattr(config, "get_loop_factory"):  # an older uvicorn does without this saving
        config.get_loop_factory()


def serve(
    app: ASGIApp, state: WorkerState, channel: ControlChannel, options: WorkerOptions, page: str, renders: bool
) -> None:
    """Serve an app until SIGTERM, or until it is drained.

    Args:
        app: the ASGI app, behind its middleware.
        state: in which that counts what is open.
        channel: the launcher is told on it when the app answers, and how it is.
        options: the worker's, with its descriptors.
        page: as :class:`Server` takes it.
        renders: likewise.
    """
    assert options.descriptors is not None and options.descriptors.listen is not None
    listener = socket.socket(fileno=options.descriptors.listen)
    config = uvicorn.Config(
        app,
        loop=event_loop(),
        log_level="warning",
        access_log=False,  # nginx writes one
        server_header=False,
        headers=[(WORKER_HEADER, options.name.partition(".")[0])],  # before all that an app may say
        forwarded_allow_ips="*",  # nobody but nginx can reach the socket
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws_per_message_deflate=options.compress_messages is not None,
        timeout_graceful_shutdown=math.ceil(options.stop_timeout),
    )
    config.load()
    config.http_protocol_class = behind_nginx(config.http_protocol_class, state)
    if options.compress_messages is not None:
        config.ws_protocol_class = compressing(config.ws_protocol_class, options.compress_messages)
    Server(config, state, channel, options.drain_timeout, page, renders).run(sockets=[listener])
