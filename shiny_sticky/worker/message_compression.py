"""Which messages of a websocket are compressed (permessage-deflate, RFC 7692).

Uvicorn compresses all of them, each with what the connection has sent before. That takes 50 KB for each connection
as long as it is open, and most of a session's messages have 60 bytes, too few to be any sooner at a browser. Here
large ones only are compressed, each by itself: nothing is kept for a connection that is idle.
"""

from __future__ import annotations

from typing import Any

try:
    from websockets.extensions import permessage_deflate
    from websockets.frames import Opcode
except ImportError:  # then uvicorn speaks websockets without it, and nothing here is used
    pass

# zlib's quickest level: the processor is what sessions have too little of. Window and memory are as uvicorn's.
SETTINGS = {"level": 1, "memLevel": 5}
WINDOW_BITS = 12


def compressing(protocol: Any, smallest: int) -> Any:
    """A uvicorn websocket protocol class that compresses large messages only.

    Args:
        protocol: uvicorn's own class; another than that for `websockets` without I/O is given back as it is.
        smallest: bytes of the smallest message that is compressed.
    """
    if protocol is None or not protocol.__module__.endswith(".websockets_sansio_impl"):
        return protocol
    factory = _factory(smallest)

    class Compressing(protocol):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.conn.available_extensions = [factory]

    return Compressing


def _factory(smallest: int) -> Any:
    """What agrees with browsers on the extension."""

    class LargeMessagesDeflate(permessage_deflate.PerMessageDeflate):
        """The extension of one connection."""

        def encode(self, frame: Any) -> Any:
            """Compress a frame, unless it is a whole message of few bytes."""
            whole = frame.fin and frame.opcode is not Opcode.CONT
            return frame if whole and len(frame.data) < smallest else super().encode(frame)

    class Factory(permessage_deflate.ServerPerMessageDeflateFactory):
        def process_request_params(self, *args: Any) -> Any:
            agreed, found = super().process_request_params(*args)
            return agreed, LargeMessagesDeflate(
                found.remote_no_context_takeover,
                found.local_no_context_takeover,
                found.remote_max_window_bits,
                found.local_max_window_bits,
                found.compress_settings,
            )

    return Factory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        compress_settings=SETTINGS,
    )
