"""A site whose app can be changed: an echo that notes its imports, has a version, and does what a test adds."""

from __future__ import annotations

import json

import websocket

from support.real_site import APPS, Site

ECHO_CODE = (APPS / "echo.py").read_text()

# A line for each import, with the pid of the process that did it.
COUNTED = "import os\nwith open('imports', 'a') as file: file.write(f'{os.getpid()}\\n')\n"


def echo_site(site_of, code: str = "", workers: int = 2, app: dict | None = None, **settings) -> Site:
    """Start a site.

    Args:
        site_of: the fixture.
        code: what the app does at import, besides.
        workers: of the app.
        app: further settings of the app.
        settings: of the site.
    """
    site = site_of({"app": {"target": "app.py", "workers": workers, **(app or {})}}, **settings)
    write_app(site, code)
    return site.start()


def write_app(site: Site, code: str = "", version: int = 1) -> None:
    """Put the app's code in place; the next deploy brings it."""
    (site.folder / "app.py").write_text(f'{COUNTED}{ECHO_CODE}\nME["version"] = {version}\n{code}\n')


def imports(site: Site) -> list[int]:
    """The pids that have imported the app."""
    return [int(pid) for pid in (site.folder / "imports").read_text().split()]


class Sessions:
    """An open websocket on each of some workers."""

    def __init__(self, site: Site, workers: list[str]) -> None:
        self.sockets: dict[str, websocket.WebSocket] = {}
        self.pids: dict[str, int] = {}
        for worker in workers:
            self.sockets[worker] = site.websocket(cookie=f"sticky={worker}")
            told = json.loads(self.sockets[worker].recv())
            assert told["worker"] == worker
            self.pids[worker] = told["pid"]

    def live(self) -> bool:
        """Whether each still answers."""
        for socket in self.sockets.values():
            socket.send("ping")
            assert socket.recv() == "ping"
        return True

    def close(self) -> None:
        for socket in self.sockets.values():
            socket.close()
