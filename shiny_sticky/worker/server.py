"""Serving an app with uvicorn on the socket that the launcher bound."""

from __future__ import annotations

import asyncio
import math
import signal
import socket

import uvicorn

from .control_channel import ControlChannel
from .draining import ConnectionTracker
from .options import WorkerOptions
from .protocol import Beat, Ready
from .transport import behind_nginx
from .warm_up import render_page

# nginx closes idle connections to a worker after 60 s. The worker waits longer, so that it never closes one
# that nginx is just sending a request on: a POST could not be repeated.
KEEP_ALIVE_SECONDS = 75

BEAT_SECONDS = 1

# The first version of uvloop that does.
WRITES_AT_ONCE = (0, 23)


class Server(uvicorn.Server):
    """A uvicorn server that tells the launcher how it is, and drains at SIGUSR2.

    Args:
        config: loaded; its app is the tracker.
        tracker: counts what is open.
        channel: the launcher is told on it.
        drain_timeout: seconds that sessions get from then on, before they are closed (1012, service restart).
    """

    def __init__(
        self, config: uvicorn.Config, tracker: ConnectionTracker, channel: ControlChannel, drain_timeout: float
    ) -> None:
        super().__init__(config)
        self._tracker = tracker
        self._channel = channel
        self._drain_timeout = drain_timeout
        self._beats: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._drain)
            if self._tracker.page:
                await render_page(self._tracker.app, self._tracker.page)
            self._channel.tell(Ready())
            self._beats = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Give the launcher a sign of life from the event loop, every second."""
        while True:
            tracker = self._tracker
            self._channel.tell_now(Beat(tracker.sessions, tracker.served))
            await asyncio.sleep(BEAT_SECONDS)

    def _drain(self) -> None:
        """Keep the open sessions and their requests, but let nginx bring nobody new over an old connection."""
        self._tracker.on_idle = self._end
        self._tracker.drain()
        for connection in list(self.server_state.connections):
            if isinstance(connection, self.config.http_protocol_class):
                connection.shutdown()  # now if it is idle, else with the response
        asyncio.get_running_loop().call_later(self._drain_timeout, self._end)

    def _end(self) -> None:
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
    """Import all that uvicorn serves with, as it would itself; no event loop is made."""
    config = uvicorn.Config(render_page, log_config=None, loop=event_loop())
    config.load()
    if hasattr(config, "get_loop_factory"):  # an older uvicorn does without this saving
        config.get_loop_factory()


def serve(tracker: ConnectionTracker, channel: ControlChannel, options: WorkerOptions) -> None:
    """Serve an app until SIGTERM, or until it is drained.

    Args:
        tracker: the ASGI app, counted.
        channel: the launcher is told on it when the app answers, and how it is.
        options: the worker's, with its descriptors.
    """
    assert options.descriptors is not None and options.descriptors.listen is not None
    listener = socket.socket(fileno=options.descriptors.listen)
    config = uvicorn.Config(
        tracker,
        loop=event_loop(),
        log_level="warning",
        access_log=False,  # nginx writes one
        server_header=False,
        forwarded_allow_ips="*",  # nobody but nginx can reach the socket
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(options.stop_timeout),
    )
    config.load()
    config.http_protocol_class = behind_nginx(config.http_protocol_class, tracker)
    Server(config, tracker, channel, options.drain_timeout).run(sockets=[listener])
