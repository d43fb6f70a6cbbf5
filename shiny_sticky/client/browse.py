"""Open tabs of an app in the user's browser."""

from __future__ import annotations

import socket
import urllib.parse
import webbrowser

from shiny_sticky import program
from shiny_sticky.errors import StickyError
from shiny_sticky.settings.model import Settings


def open_tabs(settings: Settings, app: str | None, tabs: int) -> None:
    """Open an app in several tabs.

    Args:
        settings: where it is.
        app: its name; None is the first one.
        tabs: how many.

    Raises:
        StickyError: there is no such app, nothing answers, or there is no browser.
    """
    name = app or next(iter(settings.apps))
    if name not in settings.apps:
        raise StickyError(f"There is no app {name}; there are: {', '.join(settings.apps)}")
    address = settings.base_url() + settings.apps[name].path
    place = urllib.parse.urlsplit(address)
    try:
        socket.create_connection((place.hostname, place.port or 80), timeout=5).close()
    except OSError as error:
        raise StickyError(f"Nothing answers at {address} ({error.strerror}); start it: {program.name()}") from None
    for _ in range(tabs):
        if not webbrowser.open_new_tab(address):
            raise StickyError(f"No browser can be opened from here. The address is {address}")
    print(f"{tabs} tab{'s' if tabs > 1 else ''} of {address}")
