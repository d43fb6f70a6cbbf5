"""Messages that say nothing are not sent.

After each reactive flush, Shiny sends its outcome to every session of the process: values, errors and messages to
inputs, all of them empty for each session but those in which something has changed. To a page this is news only
after something else has gone over its websocket: an output that was computed and keeps its value
(``req(..., cancel_output=True)``) is "recalculating" until then, and whoever has sent an input may wait for the
answer. Where nothing has, the last flush has said it all.
"""

from __future__ import annotations

import itertools

from ..asgi import ASGIApp, Message, Receive, Scope, Send
from ..flushes import PAGE, Page
from .session_tags import session_id

# An empty flush, in each order of its parts, without white space.
_PARTS = ('"values":{}', '"inputMessages":[]', '"errors":{}')
_EMPTY = frozenset(f"{{{','.join(parts)}}}" for parts in itertools.permutations(_PARTS))

# Characters that an empty flush has at most, white space included; what is longer says something.
_LONGEST = 100

# How a flush begins as Shiny writes it. One in another order is taken for something else: one more is sent then.
_FLUSH = '{"values"'


class EmptyFlushMiddleware:
    """Keeps back the flushes of Shiny that say nothing.

    Args:
        app: the ASGI app; if its websockets do not begin like Shiny's, their messages pass as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            page = Page()
            scope = {**scope, PAGE: page}
            receive, send = _noting(receive, page), _leaving_out(send, page)
        await self.app(scope, receive, send)


def _noting(receive: Receive, page: Page) -> Receive:
    """The `receive` of a websocket, after which its page waits for an answer."""

    async def receive_noting() -> Message:
        message = await receive()
        page.settled = False
        return message

    return receive_noting


def _leaving_out(send: Send, page: Page) -> Send:
    """The `send` of a websocket, if it is Shiny's without what says nothing to the page."""
    is_shiny: bool | None = None  # until the first message has been sent

    async def send_news(message: Message) -> None:
        nonlocal is_shiny
        text = message.get("text") or ""
        if is_shiny:
            if page.settled and is_empty_flush(text):
                return
            page.settled = text.startswith(_FLUSH)
        elif is_shiny is None and message["type"] == "websocket.send":
            is_shiny = bool(session_id(text))
        await send(message)

    return send_news


def is_empty_flush(text: str) -> bool:
    """Whether a message is a flush of Shiny's in which nothing is new, however it is written."""
    return len(text) < _LONGEST and "".join(text.split()) in _EMPTY
