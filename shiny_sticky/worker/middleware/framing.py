"""Says who may show an app's pages in a frame, where the app itself does not."""

from __future__ import annotations

from ..asgi import ASGIApp, Message, Receive, Scope, Send

NAME, DIRECTIVE = b"content-security-policy", b"frame-ancestors "


class FramingMiddleware:
    """Adds to each response a policy of its own, which browsers keep beside what the app asks for.

    Here, and not in nginx, which would look at all headers of each response for it.

    Args:
        app: the ASGI app.
        ancestors: sources as in Content Security Policy Level 3, section 6.4.2: ``'self' https://portal.example``.
    """

    def __init__(self, app: ASGIApp, ancestors: str) -> None:
        self.app = app
        self._header = (NAME, DIRECTIVE + ancestors.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == NAME and DIRECTIVE in value.lower() for name, value in headers):
                    message = {**message, "headers": [*headers, self._header]}
            await send(message)

        await self.app(scope, receive, send_framed if scope["type"] == "http" else send)
