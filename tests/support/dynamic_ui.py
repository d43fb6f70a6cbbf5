"""Sessions of apps/dynamic_ui.py, what they draw, and the files that this needs."""

from __future__ import annotations

import gzip

import brotli

from support.real_site import APPS, Reply, Site
from support.shiny_session import ShinySession

APP = str(APPS / "dynamic_ui.py")
WORKERS = ("app1", "app2", "app3")
BROWSER = {"Accept-Encoding": "gzip, deflate, br"}


def site_with(site_of, app: dict | None = None, **settings) -> Site:
    """A site of three workers of it, not started yet."""
    path = (app or {}).get("path", "/")
    return site_of({"app": {"target": APP, "workers": 3, "path": path, **(app or {})}}, **settings)


def session_at(site: Site, worker: str, path: str = "/") -> ShinySession:
    """A session on a worker, which has drawn nothing yet."""
    return ShinySession(site.port, path, cookies={"sticky": worker}, outputs=("who", "drawn")).open()


def draw(session: ShinySession, what: str = "all") -> list[str]:
    """Let a session draw; gives the URLs of what it needs for that."""
    before = session.values.get("drawn")
    session.update(what=what, draw__shiny_action=1)
    drawn = session.until(lambda: (now := session.values.get("drawn")) != before and now, "it is drawn")
    files = [file for each in drawn["deps"] for file in (*each["script"], *each["stylesheet"])]
    return [session.path + (file.get("src") or file.get("href")) for file in files]


def fetch(site: Site, url: str, worker: str | None = None) -> Reply:
    """A file, as a browser asks for it: by its cookie, or without any."""
    return site.ask(url, cookie=worker and f"sticky={worker}", headers=BROWSER)


def text(reply: Reply) -> str:
    """The first line of a file that has come."""
    assert reply.status == 200
    body = reply.body
    if encoding := reply.headers["Content-Encoding"]:
        body = {"br": brotli.decompress, "gzip": gzip.decompress}[encoding](body)
    return body.decode().splitlines()[0]
