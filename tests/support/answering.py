"""A websocket client that answers pings while a test does something else, as browsers do.

A worker closes a session whose browser has not answered for 40 s: uvicorn's ws_ping_interval and ws_ping_timeout.
On a busy machine tests take that long between one message and the next.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import weakref
from typing import ClassVar

import websocket

PING = 0x89  # the first byte of a whole ping frame: RFC 6455, section 5.2
SECONDS = 2  # between two looks at each client


class AnsweringWebSocket(websocket.WebSocket):
    """Use as websocket.WebSocket."""

    _clients: ClassVar[weakref.WeakSet[AnsweringWebSocket]] = weakref.WeakSet()
    _thread: ClassVar[threading.Thread | None] = None

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self._receiving = threading.RLock()
        self._clients.add(self)
        if AnsweringWebSocket._thread is None:
            AnsweringWebSocket._thread = threading.Thread(target=_answer_all, daemon=True)
            AnsweringWebSocket._thread.start()

    def recv_data_frame(self, control_frame: bool = False):
        with self._receiving:
            return super().recv_data_frame(control_frame)

    def answer(self) -> None:
        """Answer the pings that have come, unless the test is receiving."""
        if not self._receiving.acquire(blocking=False):
            return
        try:
            while self._next_byte() == PING:
                self.pong(self.recv_frame().data)
        finally:
            self._receiving.release()

    def _next_byte(self) -> int | None:
        """What is to be read next; None if nothing is, or half of a frame was read already."""
        if self.sock is None or self.frame_buffer.recv_buffer or not self.connected:
            return None
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        data = self.sock.recv(1, socket.MSG_PEEK) if poll.poll(0) else b""
        return data[0] if data else None


def _answer_all() -> None:
    while not threading.Event().wait(SECONDS):
        for client in list(AnsweringWebSocket._clients):
            with contextlib.suppress(OSError, ValueError, websocket.WebSocketException):
                client.answer()
