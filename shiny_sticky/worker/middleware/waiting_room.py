"""Visitors for whom there is no place wait on a page of their own, instead of in the app's, and in turn.

The launcher keeps the line (supervision/waiting_room.py), and says whether newcomers have to join it. The page asks
it for the visitor's place in line, and, when it is their turn, for an admission, with which it comes to the app.
Ticket and admission are parameters of the address, so that all of it works without cookies.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from ..asgi import ASGIApp, Message, Receive, Scope, Send
from ..draining import WorkerState
from ..pages import Insertion, PageResponder
from ..visitors import is_page

# The page on which visitors wait.
PAGE = (Path(__file__).parent.parent / "full.html").read_text(encoding="utf-8")

# What a browser may do after that many seconds by itself, if the page's script does not run.
RETRY_SECONDS = 3

# Where nginx asks the launcher, below the app's mount.
PLACE = "sticky-place"

# The parameters of an address: who waits, or has waited. The app sees neither.
TICKET, ADMISSION = b"sticky-ticket=", b"sticky-admission="

# Said to a browser for a reload, by which an open page is known.
RELOADS = re.compile(rb"(?:^|[ ,])(?:max-age=0|no-cache)(?:[ ,]|$)")

HEAD = re.compile(rb"<head\b[^>]*>", re.IGNORECASE)

# An address in parts: scheme, host, path, query with its question mark, fragment with its number sign.
ADDRESS = re.compile(rb"([a-z][a-z0-9+.-]*:)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.IGNORECASE)

# The first thing in a page, so that nothing else in it sees the parameters either.
CLEAN_ADDRESS = b"""<script>(() => {
  const own = /^sticky-(ticket|admission)=/;
  const query = location.search.slice(1).split("&").filter((part) => part && !own.test(part)).join("&");
  const clean = location.origin + location.pathname + (query && `?${query}`) + location.hash;
  history.replaceState(history.state, "", clean);
  document.currentScript.remove();
})();</script>"""


class WaitingRoomMiddleware:
    """Lets visitors of a page in, or has them wait.

    Args:
        app: the ASGI app; it sees whole paths.
        state: tells what there is room for, and what the launcher has said.
        path: where the app is mounted, with a slash at its end.
    """

    def __init__(self, app: ASGIApp, state: WorkerState, path: str) -> None:
        self.app = app
        self._state = state
        self._path = path
        self._entering = 0  # visitors who have been let in, and are not answered yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Asked(scope, self._path)
        if asked.visits and not self._lets_in(asked):
            self._state.visitors.turned_away(scope)
            self._state.on_change()
            await _answer(asked, send)
        elif asked.visits:
            await self._enter(asked, receive, send)
        else:
            await self.app(asked.scope, receive, send)

    def _lets_in(self, asked: Asked) -> bool:
        """Whether somebody who asks for a page gets it."""
        if self._state.gate.admits(asked.admission):
            return True
        is_known = not asked.has_waited and self._state.visitors.is_named(asked.scope)
        if (is_known and asked.reloads) or asked.is_in_open_page:
            return True
        return not self._state.gate.closed and (is_known or not self._is_full)

    @property
    def _is_full(self) -> bool:
        """Whether all places are taken, those of visitors who are about to have a session among them."""
        state = self._state
        if state.isolated:  # a page's session is another process's, if need be
            return False
        return state.sessions + state.expected + self._entering >= state.max_sessions

    async def _enter(self, asked: Asked, receive: Receive, send: Send) -> None:
        """Serve a page, and count its visitor until it is counted as the page of one."""
        entry = _Entry(self, asked, self._state)
        self._entering += 1
        try:
            send = entry.following(send)
            if asked.has_waited and asked.scope["method"] == "GET":
                send = PageResponder(send, _find_place).send
            await self.app(asked.scope, receive, send)
        finally:
            entry.end()

    def entered(self) -> None:
        """Somebody who was let in is answered."""
        self._entering -= 1


class Asked:
    """What a request asks for, as far as it matters here.

    Args:
        scope: of the request.
        path: where the app is mounted, with a slash at its end.

    Attributes:
        scope: of the request, without the parameters that are not the app's.
        admission: what the visitor has brought for their turn; empty if nothing.
        ticket: their place in line; likewise.
        visits: whether somebody comes to see a page; no program, no script of a page, no session's own URL.
    """

    def __init__(self, scope: Scope, path: str) -> None:
        self.scope = scope
        self.admission = self.ticket = ""
        self._path = path
        if TICKET in scope["query_string"] or ADMISSION in scope["query_string"]:
            self._take_parameters(scope["query_string"].split(b"&"))
        self._headers = dict(scope["headers"])
        self.visits = self._is_visit()

    @property
    def has_waited(self) -> bool:
        """Whether the request comes from the page on which visitors wait."""
        return bool(self.admission or self.ticket)

    @property
    def reloads(self) -> bool:
        """Whether a page that is open is asked for again; its session ends after that only."""
        return RELOADS.search(self._headers.get(b"cache-control", b"")) is not None

    @property
    def is_in_open_page(self) -> bool:
        """Whether it is for a frame in a page of the app: what shows it is let in already."""
        framed = self._headers.get(b"sec-fetch-dest") in (b"iframe", b"frame", b"embed", b"object")
        if not framed or self._headers.get(b"sec-fetch-site") != b"same-origin" or self.has_waited:
            return False
        _, _, page, query, _ = _parts(self._headers.get(b"referer", b""))
        return page.startswith(self._path.encode()) and TICKET not in query

    def waiting_address(self) -> str:
        """The query of the address at which the visitor waits; with the same ticket, if there is one."""
        query: str = self.scope["query_string"].decode("latin-1")
        return f"?{query}{'&' if query else ''}{TICKET.decode()}{self.ticket or 'none'}"

    def place_address(self) -> str:
        """Where the launcher tells the visitor's place, from the page's own address."""
        below: str = self.scope["path"].removeprefix(self._path)
        return "../" * below.count("/") + PLACE

    def _take_parameters(self, parts: list[bytes]) -> None:
        for part in parts:
            if part.startswith(ADMISSION):
                self.admission = part[len(ADMISSION) :].decode("latin-1") or "none"
            elif part.startswith(TICKET):
                self.ticket = part[len(TICKET) :].decode("latin-1") or "none"
        rest = b"&".join(part for part in parts if not part.startswith((ADMISSION, TICKET)))
        self.scope = {**self.scope, "query_string": rest}

    def _is_visit(self) -> bool:
        if self.scope["method"] not in ("GET", "HEAD") or "/session/" in self.scope["path"]:
            return False
        mode = self._headers.get(b"sec-fetch-mode")
        return mode == b"navigate" if mode else b"text/html" in self._headers.get(b"accept", b"")


class _Entry:
    """The answer to somebody who is let in.

    Args:
        room: counts them until then.
        asked: what they ask for.
        state: its gate is told that an admission has led to a page.
    """

    def __init__(self, room: WaitingRoomMiddleware, asked: Asked, state: WorkerState) -> None:
        self._room = room
        self._asked = asked
        self._state = state
        self._ended = False

    def following(self, send: Send) -> Send:
        """The `send` of the answer."""

        async def send_following(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.end()
                message = self._noted(message)
            await send(message)

        return send_following

    def end(self) -> None:
        """It has begun, or will not come; that may be known already."""
        if not self._ended:
            self._ended = True
            self._room.entered()

    def _noted(self, start: Message) -> Message:
        """An admission is good for one page; on the way there, it follows the app's redirects."""
        admission = self._asked.admission
        if not self._state.gate.admits(admission):
            return start
        if is_page(start):
            self._state.gate.use(admission)
        if 300 <= start["status"] < 400:
            host = dict(self._asked.scope["headers"]).get(b"host", b"")
            headers = [_with_admission(key, value, admission, host) for key, value in start.get("headers", ())]
            return {**start, "headers": headers}
        return start


def _with_admission(key: bytes, value: bytes, admission: str, host: bytes) -> tuple[bytes, bytes]:
    """A header of a redirect; where it leads to this site, an admission goes along."""
    scheme, its_host, path, query, fragment = _parts(value)
    if key.lower() != b"location" or its_host not in (b"", host) or (scheme and not its_host):
        return key, value
    site = scheme + b"//" + its_host if its_host else b""
    separator = b"&" if query else b"?"
    return key, site + path + query + separator + ADMISSION + admission.encode() + fragment


def _parts(address: bytes) -> list[bytes]:
    """Those of :data:`ADDRESS`; empty where there is none."""
    found = ADDRESS.fullmatch(address)
    return [part or b"" for part in found.groups()] if found else [b""] * 5


def _find_place(page: bytes) -> Insertion | None:
    """The script is the first thing in the page's head."""
    found = HEAD.search(page)
    return Insertion(found.end(), CLEAN_ADDRESS) if found else None


async def _answer(asked: Asked, send: Send) -> None:
    """Have a visitor wait: 503, and the page that says so."""
    text = PAGE.replace("@REFRESH@", html.escape(f"{RETRY_SECONDS};url={asked.waiting_address()}"))
    body = text.replace("@PLACE@", html.escape(asked.place_address())).encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_SECONDS).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if asked.scope["method"] == "HEAD" else body})
