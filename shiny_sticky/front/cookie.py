"""The cookie that names a browser's worker: its text. A map of nginx's sends it, or njs/sticky.js in rare cases."""

from __future__ import annotations

from shiny_sticky.settings.model import Settings


def attributes(settings: Settings, path: str) -> str:
    """What stands behind the name and the value in Set-Cookie (RFC 6265).

    Args:
        settings: say how long and where browsers send it.
        path: below which they do.

    Returns:
        As in ``Path=/; HttpOnly; SameSite=Lax$sticky_secure``, where that variable of nginx's is ``; Secure`` for a
        request that came by https.
    """
    cookie = settings.cookie
    parts = [f"Path={path}", "HttpOnly", f"SameSite={cookie.same_site.capitalize()}"]
    if cookie.max_age is not None:
        parts.append(f"Max-Age={cookie.max_age}")
    if cookie.domain is not None:
        parts.append(f"Domain={cookie.domain}")
    if cookie.secure is True:
        parts.append("Secure")
    return "; ".join(parts) + ("$sticky_secure" if cookie.secure == "auto" else "")
