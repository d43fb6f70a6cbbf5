"""A file that a page sends again, as its network was lost, reaches the app once."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict

from ..asgi import ASGIApp, Message, Receive, Scope, Send

UPLOAD = re.compile(r"/session/[^/]+/upload/")

# By it a page says that it sends again what it has sent: draft-ietf-httpapi-idempotency-key-header.
KEY_HEADER = b"idempotency-key"

# Answers that are kept for a page that has not got its own, and bytes of each.
ANSWERS = 256
LONGEST_ANSWER = 1 << 14


class RepeatedUploadMiddleware:
    """Lets each upload that has a key reach the app once; who sends it again gets the answer that there is.

    nginx sends a worker the whole of a file or nothing of it (``proxy_request_buffering``), and goes on when the
    page is gone (``proxy_ignore_client_abort``). So what has begun comes to an end.

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: OrderedDict[tuple[str, bytes], asyncio.Future[list[Message] | None]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        key = _key(scope)
        if key is None:
            await self.app(scope, receive, send)
            return
        upload = (scope["path"], key)
        while earlier := self._answers.get(upload):
            if answer := await asyncio.shield(earlier):
                await _drain(receive)
                for message in answer:
                    await send(message)
                return
        await self._take(upload, scope, receive, send)

    async def _take(self, upload: tuple[str, bytes], scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, and keep the answer unless it is long or a failure."""
        told: asyncio.Future[list[Message] | None] = asyncio.get_running_loop().create_future()
        self._answers[upload] = told
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)
            await send(message)

        try:
            await self.app(scope, receive, keep)
        finally:
            if _is_worth_keeping(answer):
                told.set_result(answer)
            else:
                self._answers.pop(upload, None)
                told.set_result(None)
            while len(self._answers) > ANSWERS:
                self._answers.popitem(last=False)


def _key(scope: Scope) -> bytes | None:
    """An upload's key; None if it has none, or the request is no upload."""
    if scope["type"] != "http" or scope["method"] != "POST" or not UPLOAD.search(scope["path"]):
        return None
    return next((value for name, value in scope["headers"] if name.lower() == KEY_HEADER), None)


def _is_worth_keeping(answer: list[Message]) -> bool:
    """Whether an answer is complete, says that the file has come, and is short."""
    if not answer or answer[0].get("status") != 200 or answer[-1].get("more_body"):
        return False
    return sum(len(message.get("body", b"")) for message in answer) <= LONGEST_ANSWER


async def _drain(receive: Receive) -> None:
    """Read a body that nobody needs."""
    while (await receive()).get("more_body"):
        pass
