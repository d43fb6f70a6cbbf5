"""Where an app is mounted."""

from __future__ import annotations

from ..asgi import ASGIApp, Receive, Scope, Send


class RootPathMiddleware:
    """Tells an app which path it is mounted at: ASGI's ``root_path``, which stands at the start of ``path``.

    Args:
        app: the ASGI app.
        path: such as ``/foo``, with no slash at its end.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app = app
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "root_path": self.path}
        await self.app(scope, receive, send)
