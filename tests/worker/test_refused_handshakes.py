"""A websocket's handshake is no session before the app has accepted it, and a refused one never is."""

import asyncio
import socket

import pytest
import websocket

from shiny_sticky.worker.draining import HANDSHAKE_SECONDS, ConnectionTracker, WorkerState
from support.real_site import Site, until
from support.virtual_clock import run

APP = """
import asyncio
from pathlib import Path

HERE = Path(__file__).parent


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})
    if scope["type"] != "websocket":
        return
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.close", "code": 1008})
    elif scope["path"] == "/denied":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})
    elif scope["path"] == "/failing":
        raise RuntimeError("as an app may")
    else:
        if scope["path"] == "/slow":
            (HERE / "asked").touch()
            while not (HERE / "go").exists():
                await asyncio.sleep(0.01)
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass
"""

HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: x\r\nCookie: sticky=app1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def site_with(site_of, **app) -> Site:
    site = site_of({"app": {"target": "app.py", **app}})
    (site.folder / "app.py").write_text(APP)
    return site.start()


def served(site: Site, worker: str) -> tuple[int, int]:
    """The sessions that a worker has open, and those that it has served."""
    (found,) = [each for each in site.status()["workers"] if each["name"] == worker]
    return found["incarnations"][0]["sessions"], found["incarnations"][0]["sessions_served"]


@pytest.mark.parametrize(("path", "status"), [("/refused", 403), ("/denied", 401), ("/failing", 500)])
def test_refused_handshakes_are_no_sessions(site_of, path, status):
    """Else anybody could have every worker recycled all the time, by recycle.sessions_served."""
    site = site_with(site_of, workers=1, max_sessions=1)
    for _ in range(5):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            site.websocket(path)
        assert refused.value.status_code == status
    open_one = site.websocket("/ws")  # there is the one place still
    until(lambda: served(site, "app1") == (1, 1), "the accepted one alone is counted")
    open_one.close()
    until(lambda: served(site, "app1") == (0, 1), "it has ended")


def test_a_handshake_that_the_app_still_considers_has_a_place_and_is_no_session(site_of):
    site = site_with(site_of, workers=2, max_sessions=1)
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as slow:
        slow.sendall(HANDSHAKE.format("/slow").encode())
        until((site.folder / "asked").exists, "the app considers it")
        other = site.websocket("/ws", cookie="sticky=app1")
        assert "sticky=app2" in other.getheaders()["set-cookie"], "app1's only place may be taken in a moment"
        until(lambda: served(site, "app2") == (1, 1), "the second is told of")
        assert served(site, "app1") == (0, 0)
        (site.folder / "go").touch()
        assert b"101" in slow.recv(100)
        until(lambda: served(site, "app1") == (1, 1), "now it is a session")
        other.close()


# --- the tracker alone

SCOPE = {"type": "websocket", "path": "/ws", "headers": []}


async def nothing(*_):
    """An ASGI `receive` or `send` of which nothing comes."""


def test_a_handshake_that_is_never_accepted_gives_its_place_back():
    async def scenario() -> None:
        state = WorkerState(max_sessions=1)
        never = asyncio.Event()

        async def app(scope, receive, send):
            await never.wait()
            await send({"type": "websocket.accept"})

        task = asyncio.create_task(ConnectionTracker(app, state)(SCOPE, nothing, nothing))
        await asyncio.sleep(HANDSHAKE_SECONDS / 2)
        assert state.full
        await asyncio.sleep(HANDSHAKE_SECONDS)
        assert not state.full
        assert (state.sessions, state.sessions_served) == (0, 0)
        await state.idle()  # a drain does not wait for it
        never.set()
        await task
        assert (state.sessions, state.sessions_served, state.handshakes) == (0, 1, 0)

    run(scenario())


def test_a_handshake_whose_client_has_gone_is_no_session():
    async def scenario() -> None:
        state = WorkerState(max_sessions=1)

        async def app(scope, receive, send):
            await send({"type": "websocket.accept"})

        async def gone(message):
            raise OSError("the client has gone")

        with pytest.raises(OSError, match="gone"):
            await ConnectionTracker(app, state)(SCOPE, nothing, gone)
        assert (state.sessions, state.sessions_served, state.full) == (0, 0, False)

    run(scenario())
