"""A TCP proxy between clients and a server, whose connections can be cut in every way that networks know."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal, TypeVar

Cut = Literal["rst", "fin", "silence"]

T = TypeVar("T")


class _Pair:
    """A client's connection and the one that is made to the server for it."""

    def __init__(self, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._ends = ends
        self.silent = asyncio.Event()
        self.open = True

    def cut(self, how: Cut) -> None:
        """Reset it, close it, or pass nothing more on it without a word to either side."""
        if how == "silence":
            self.silent.set()
            return
        self.open = False
        for end in self._ends:
            if end.transport.is_closing():
                continue
            if how == "rst":
                linger = struct.pack("ii", 1, 0)  # close() sends RST: socket(7), SO_LINGER
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                end.transport.abort()
            else:
                end.close()


class CuttingProxy:
    """Passes connections on to a port of 127.0.0.1 until told otherwise. Use as a context manager.

    Args:
        target: the server's port.

    Attributes:
        port: that clients connect to.
        reachable: whether new connections are passed on; others are closed at once.
        fuse: looks at each piece, and whether it comes from a client; once it is true, the network is gone, and so
            is the piece.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.reachable = True
        self.fuse: Callable[[bytes, bool], bool] = lambda piece, by_client: False
        self._target = target
        self._pairs: dict[_Pair, None] = {}  # in the order in which they came
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._pass_on, "127.0.0.1", 0), self._loop
        ).result()
        self.port = server.sockets[0].getsockname()[1]
        self._server = server
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self, how: Cut) -> int:
        """Cut all connections that are open; gives how many were."""
        return self._call(lambda: self._cut(how))

    def cut_one(self, how: Cut, which: float) -> bool:
        """Cut one of the connections that are open.

        Args:
            how: it is cut.
            which: from 0 (the oldest) to 1.

        Returns:
            Whether there was one.
        """
        return self._call(lambda: self._cut_one(how, which))

    def disconnect(self, how: Cut = "silence") -> None:
        """Take the network away: what is open is cut, nothing new gets through."""
        self.reachable = False
        self.cut(how)

    def reconnect(self) -> None:
        """Give the network back; what was cut stays cut."""
        self.reachable = True

    def _cut(self, how: Cut) -> int:
        pairs = self._passing()
        for pair in pairs:
            pair.cut(how)
        return len(pairs)

    def _cut_one(self, how: Cut, which: float) -> bool:
        pairs = self._passing()
        if pairs:
            pairs[min(int(which * len(pairs)), len(pairs) - 1)].cut(how)
        return bool(pairs)

    def _passing(self) -> list[_Pair]:
        return [pair for pair in self._pairs if pair.open and not pair.silent.is_set()]

    def _end(self) -> None:
        self._server.close()
        for pair in list(self._pairs):
            pair.cut("rst")

    def _call(self, act: Callable[[], T]) -> T:
        """Do something in the proxy's own thread."""

        async def acting() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(acting(), self._loop).result()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.reachable:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair((writer, back))
        self._pairs[pair] = None
        try:
            await asyncio.gather(
                self._copy(reader, back, pair, by_client=True), self._copy(there, writer, pair, by_client=False)
            )
        finally:
            pair.cut("fin")
            del self._pairs[pair]

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, by_client: bool
    ) -> None:
        """Pass on one direction; its end ends the other."""
        try:
            while data := await reader.read(65536):
                if pair.silent.is_set():
                    continue  # it is read, so that nobody learns anything
                if self.reachable and self.fuse(data, by_client):
                    self.reachable = False
                    self._cut("rst")
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        if not pair.silent.is_set():
            pair.cut("fin")
