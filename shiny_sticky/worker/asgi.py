"""What ASGI 3 passes around; a file called types.py would be found before Python's own at the start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# A response's headers, as ASGI has them.
Headers = list[tuple[bytes, bytes]]
