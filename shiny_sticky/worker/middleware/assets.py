"""Static files for nginx to keep: marked as such, and compressed once, as well as can be."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from ..asgi import ASGIApp, Headers, Message, Receive, Scope, Send
from ..options import CacheOptions
from .compression import Coding, CompressedFiles, codings, preferred

# Seconds that nginx keeps a file: until the next deploy.
LONG = 365 * 86400

# Seconds that nginx keeps a quickly compressed file.
BRIEFLY = 1

# The header by which nginx learns what it may keep, and for how long.
MARK = b"x-accel-expires"

# Files of more bytes pass as they are.
LARGEST = 64 << 20

# Bytes that are worth compressing: below, the headers are most of the answer.
SMALLEST = 256

# What shinywidgets calls the folder of a widget that asks for a range of versions: no version at all.
UNVERSIONED = re.compile(r".*-0\.0")

COMPRESSIBLE = re.compile(
    r"(text/|font/(ttf|otf)|image/(svg\+xml|bmp|x-icon|vnd\.microsoft\.icon)|application/"
    r"(javascript|x-javascript|json|xml|wasm|manifest\+json|vnd\.ms-fontobject|[\w.-]+\+(json|xml))\b)"
)


class AssetMiddleware:
    """Marks an app's static files for nginx to keep, and compresses them. Nothing else is marked.

    What was asked for with Authorization may be for whoever asks alone, and is never kept. What was asked for with
    a query may be another file than without: it is kept only where the settings say so.

    The first answer is compressed quickly, and nginx is told to ask again; from then on the best is sent. So nobody
    waits for the seconds that the best takes, and it is made once for all workers.

    Args:
        app: the ASGI app; it sees whole paths.
        is_current: whether this process serves now. Nothing of another one is marked: newer processes have newer
            files. It is asked when the answer is there, which may be long after the request.
        options: what nginx keeps, and where compressed files are.
        lib: the path of Shiny's own files; empty if the app is not Shiny's.
        is_dependency: whether a folder's name below `lib` is one of Shiny's HTML dependencies.
    """

    def __init__(
        self,
        app: ASGIApp,
        is_current: Callable[[], bool],
        options: CacheOptions,
        lib: str,
        is_dependency: Callable[[str], bool],
    ) -> None:
        self.app = app
        self._is_current = is_current
        self._lib = lib
        self._is_dependency = is_dependency
        self._named = _matches([path.rstrip("?") for path in options.paths])
        self._named_by_query = _matches([path.rstrip("?") for path in options.paths if path.endswith("?")])
        self._store = CompressedFiles(Path(options.folder), options.room)
        self._codings = codings()
        self._immutable = f", max-age={options.max_age}, immutable".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            send = _unmarked(self._responding(scope, send))
        await self.app(scope, receive, send)

    def _responding(self, scope: Scope, send: Send) -> Send:
        """What takes a response, and marks it if it may be kept."""
        if scope["method"] != "GET" or not _is_plain(scope):
            return send
        path, query, private = scope["path"], bool(scope["query_string"]), _is_private(scope)
        folder = self._dependency(path)
        kept = not private and (self._named_by_query(path) if query else bool(folder) or self._named(path))
        if not kept and not folder:
            return send
        cache_control = self._cache_control(folder, private)
        return AssetResponder(send, self._coding(scope), self._store, cache_control, kept, self._is_current).send

    def _cache_control(self, folder: str, private: bool) -> bytes | None:
        """What browsers are told of a dependency's file; None if its folder has no version, and for other files."""
        if not folder or UNVERSIONED.fullmatch(folder):
            return None
        return (b"private" if private else b"public") + self._immutable

    def _dependency(self, path: str) -> str:
        """The folder's name if a path leads to one of Shiny's HTML dependencies; else empty."""
        if not self._lib or not path.startswith(self._lib):
            return ""
        folder, slash, _ = path[len(self._lib) :].partition("/")
        return folder if slash and self._is_dependency(folder) else ""

    def _coding(self, scope: Scope) -> Coding | None:
        """The best coding that the client takes and this interpreter can make."""
        header = b", ".join(value for key, value in scope["headers"] if key == b"accept-encoding")
        names = preferred(header.decode("latin-1"))
        return next((self._codings[name] for name in names if name in self._codings), None)


class AssetResponder:
    """The response to one request: gathered, and sent in one piece as nginx is to keep it, if it may be kept.

    Args:
        send: takes what is sent in the end.
        coding: that the client takes.
        store: of compressed files.
        cache_control: what browsers are told; None is for the app to say, or else to ask again each time.
        kept: whether nginx may keep it.
        is_current: whether this process serves now; the answer of another one passes as it is.
    """

    def __init__(
        self,
        send: Send,
        coding: Coding | None,
        store: CompressedFiles,
        cache_control: bytes | None,
        kept: bool,
        is_current: Callable[[], bool],
    ) -> None:
        self._send = send
        self._coding = coding
        self._store = store
        self._cache_control = cache_control
        self._kept = kept
        self._is_current = is_current
        self._start: Message | None = None  # held back as long as the whole response may be kept
        self._body: list[bytes] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        """Take a message of the app's."""
        if message["type"] == "http.response.start" and message["status"] == 200 and _cacheable(_given(message)):
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._gather(self._start, message)
        else:
            await self._send(message)

    async def _gather(self, start: Message, message: Message) -> None:
        """Take a piece of the body, and send the response if that was the last, or is too much."""
        self._body.append(message.get("body", b""))
        self._size += len(self._body[-1])
        if self._size > LARGEST:
            self._start = None
            await self._send(start)
            await self._send({**message, "body": b"".join(self._body)})
        elif not message.get("more_body"):
            await self._finish(start, b"".join(self._body))

    async def _finish(self, start: Message, body: bytes) -> None:
        """Send the whole response: as it is to be kept, or as the app has given it."""
        headers, coded = await self._marked(start, body)
        if self._is_current():  # asked last, for compressing takes its time, too
            start, body = {**start, "headers": headers}, coded
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def _marked(self, start: Message, body: bytes) -> tuple[Headers, bytes]:
        """A response's headers and body: compressed where that is worth it, and with what it is kept by."""
        given = _given(start)
        tag, expires = hashlib.blake2b(body, digest_size=12).hexdigest(), LONG
        new = {b"accept-ranges": b"bytes", b"vary": b"Accept-Encoding"}
        if self._coding is not None and _compressible(given, body):
            body, tag, expires = await self._best_or_quick(self._coding, body, tag)
            new[b"content-encoding"] = self._coding.name.encode()
        new[b"etag"] = f'"{tag}"'.encode()
        new[b"content-length"] = str(len(body)).encode()
        if self._kept and await asyncio.to_thread(self._store.has_room, len(body)):
            new[MARK] = str(expires).encode()
        if self._cache_control is not None:
            new[b"cache-control"] = self._cache_control
        elif b"cache-control" not in given:
            new[b"cache-control"] = b"no-cache"  # kept by browsers, and asked for with its tag each time
        others = [(key, value) for key, value in start.get("headers", ()) if key.lower() not in new]
        return [*others, *new.items()], body

    async def _best_or_quick(self, coding: Coding, body: bytes, tag: str) -> tuple[bytes, str, int]:
        """A file as well compressed as can be if that is made; else quickly, and the best is begun.

        Returns:
            The compressed file, the tag that it has, and the seconds that nginx is to keep it.
        """
        name = f"{tag}.{coding.name}"
        best = self._store.find(name)
        if best is not None:
            return best, f"{tag}-{coding.name}", LONG
        expires = BRIEFLY if self._store.add(name, coding.well, body) else LONG
        # Quick and best differ in bytes, so they need different tags: clients put ranges together by them.
        return await asyncio.to_thread(coding.quickly, body), f"{tag}-q-{coding.name}", expires


def _unmarked(send: Send) -> Send:
    """The `send` of an app, which has no say in what nginx keeps for everybody."""

    async def send_unmarked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != MARK]
            message = {**message, "headers": headers}
        await send(message)

    return send_unmarked


def _matches(paths: list[str]) -> Callable[[str], bool]:
    """Whether a path is one of some files, or below one of some folders, which end in a slash."""
    files = {path for path in paths if not path.endswith("/")}
    folders = tuple(path for path in paths if path.endswith("/"))
    return lambda path: path in files or path.startswith(folders)


def _given(start: Message) -> dict[bytes, bytes]:
    """The headers that an app has sent, by their names in lower case; those of several lines as one."""
    given: dict[bytes, bytes] = {}
    for key, value in start.get("headers", ()):
        name = key.lower()
        given[name] = given[name] + b", " + value if name in given else value
    return given


def _is_private(scope: Scope) -> bool:
    """Whether a request says who asks, so that the answer may be for nobody else: RFC 9111, section 3.5."""
    return any(key == b"authorization" for key, _ in scope["headers"])


def _is_plain(scope: Scope) -> bool:
    """Whether a request is for a path as it stands, and all of it: nothing that nginx could read otherwise."""
    path: str = scope["path"]
    asked = {key for key, _ in scope["headers"]}
    return (
        scope.get("raw_path") == path.encode()
        and "//" not in path
        and "/." not in path
        and asked.isdisjoint((b"range", b"if-none-match", b"if-modified-since"))
    )


def _cacheable(headers: dict[bytes, bytes]) -> bool:
    """Whether a response is the same for everybody, by its headers, and not too large."""
    control = headers.get(b"cache-control", b"").lower()
    varies = {name.strip() for name in headers.get(b"vary", b"").lower().split(b",")}
    length = headers.get(b"content-length", b"")
    return (
        b"set-cookie" not in headers
        and varies <= {b"accept-encoding", b""}
        and not any(word in control for word in (b"no-store", b"private"))
        and not (length.isdigit() and int(length) > LARGEST)
    )


def _compressible(headers: dict[bytes, bytes], body: bytes) -> bool:
    """Whether a file gets smaller by compressing, as far as its type tells."""
    kind = headers.get(b"content-type", b"").decode("latin-1")
    return len(body) >= SMALLEST and b"content-encoding" not in headers and COMPRESSIBLE.match(kind) is not None
