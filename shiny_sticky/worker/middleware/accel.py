"""Headers that steer nginx: an app sends none."""

from __future__ import annotations

from ..asgi import ASGIApp, Message, Receive, Scope, Send

PREFIX = b"x-accel-"


class AccelMiddleware:
    """Takes an app's ``X-Accel-*`` headers out of its responses, as what they say is for the worker to say.

    nginx ignores all of them but ``X-Accel-Expires``, by which a worker marks what may be kept.

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                kept = [pair for pair in headers if not pair[0].lower().startswith(PREFIX)]
                message = {**message, "headers": kept}
            await send(message)

        await self.app(scope, receive, send_without if scope["type"] == "http" else send)
