"""Headers that steer nginx: an app sends none."""

from __future__ import annotations

from ..asgi import ASGIApp, Message, Receive, Scope, Send

PREFIXES = (b"x-accel-", b"x-sticky-")


class AccelMiddleware:
    """Takes what steers nginx out of an app's responses, as that is for the worker to say.

    Of ``X-Accel-*``, nginx minds ``X-Accel-Expires`` alone, by which a worker marks what may be kept. By
    ``X-Sticky-Worker`` a worker says that it has answered; uvicorn adds it to all that leaves (:mod:`..server`).

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_without(message: Message) -> None:
            headers = message.get("headers")
            if headers:
                kept = [pair for pair in headers if not pair[0].lower().startswith(PREFIXES)]
                message = {**message, "headers": kept}
            await send(message)

        await self.app(scope, receive, send if scope["type"] == "lifespan" else send_without)
