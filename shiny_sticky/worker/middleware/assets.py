"""Static files for nginx to keep: marked as such, and compressed once, as well as can be."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Any

from .compression import CompressedFiles, encodings, preferred

# What nginx keeps a file for, in seconds: until the next deploy.
LONG = 365 * 86400

# And what it keeps one for that was compressed in a hurry.
BRIEFLY = 1

# Files of more bytes pass as they are.
LARGEST = 64 << 20

# Bytes that are worth compressing: below, the headers are most of the answer.
SMALLEST = 256

COMPRESSIBLE = re.compile(
    r"(text/|font/(ttf|otf)|image/(svg\+xml|bmp|x-icon|vnd\.microsoft\.icon)|application/"
    r"(javascript|x-javascript|json|xml|wasm|manifest\+json|vnd\.ms-fontobject|[\w.-]+\+(json|xml))\b)"
)


class AssetMiddleware:
    """Marks an app's static files for nginx to keep, and compresses them.

    The first answer is compressed quickly, and nginx is told to ask again; from then on the best is sent. So nobody
    waits for the seconds that the best takes, and it is made once for all workers.

    Args:
        app: the ASGI app; it sees whole paths.
        lib: the path of Shiny's own files; empty if the app is not Shiny's.
        is_dependency: whether a folder's name below `lib` is one of Shiny's HTML dependencies.
        paths: other files (/logo.png) and folders (/img/) to keep.
        store: of compressed files.
        max_age: seconds that browsers may use Shiny's own files without asking.
    """

    def __init__(
        self,
        app: Any,
        lib: str,
        is_dependency: Callable[[str], bool],
        paths: list[str],
        store: CompressedFiles,
        max_age: int,
    ) -> None:
        self.app = app
        self.leaving = False
        self._lib = lib
        self._is_dependency = is_dependency
        self._files = {path for path in paths if not path.endswith("/")}
        self._folders = tuple(path for path in paths if path.endswith("/"))
        self._store = store
        self._encodings = encodings()
        self._immutable = f"public, max-age={max_age}, immutable".encode()

    def stop_marking(self) -> None:
        """Mark no more: a newer process has taken this one's place, and what it has is old."""
        self.leaving = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "GET" and not self.leaving:
            shinys = self._is_shinys(scope["path"])
            if (shinys or self._is_named(scope["path"])) and _is_plain(scope):
                send = self._keeping(scope, send, shinys)
        await self.app(scope, receive, send)

    def _is_shinys(self, path: str) -> bool:
        if not self._lib or not path.startswith(self._lib):
            return False
        folder, slash, _ = path[len(self._lib) :].partition("/")
        return bool(slash) and self._is_dependency(folder)

    def _is_named(self, path: str) -> bool:
        return path in self._files or path.startswith(self._folders)

    def _keeping(self, scope: Any, send: Any, shinys: bool) -> Any:
        """The `send` of a response that is gathered, and sent in one piece as nginx is to keep it."""
        start: Any = None  # its first message, as long as it may be kept; else False
        body: list[bytes] = []
        size = 0

        async def send_kept(message: Any) -> None:
            nonlocal start, size
            if start is None and message["type"] == "http.response.start":
                told = {key.lower(): value for key, value in message.get("headers", ())}
                if message["status"] == 200 and _may_be_kept(told):
                    start = message
                else:
                    start = False
                    await send(message)
            elif not start or message["type"] != "http.response.body":
                await send(message)
            else:
                body.append(message.get("body", b""))
                size += len(body[-1])
                if size > LARGEST:
                    first, start = start, False
                    await send(first)
                    await send({**message, "body": b"".join(body)})
                elif not message.get("more_body"):
                    headers, data = await self._kept(scope, list(start["headers"]), b"".join(body), shinys)
                    await send({**start, "headers": headers})
                    await send({"type": "http.response.body", "body": data})

        return send_kept

    async def _kept(
        self, scope: Any, headers: list[tuple[bytes, bytes]], data: bytes, shinys: bool
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The headers and body of a response that nginx may keep."""
        given = {key.lower(): value for key, value in headers}
        expires, encoding, tag = LONG, "", hashlib.blake2b(data, digest_size=12).hexdigest()
        if (
            len(data) >= SMALLEST
            and b"content-encoding" not in given
            and COMPRESSIBLE.match(given.get(b"content-type", b"").decode("latin-1"))
        ):
            wanted = ", ".join(
                value.decode("latin-1") for key, value in scope["headers"] if key == b"accept-encoding"
            )
            encoding = next((name for name in preferred(wanted) if name in self._encodings), "")
        new = {b"accept-ranges": b"bytes", b"vary": b"Accept-Encoding"}
        if encoding:
            quickly, well = self._encodings[encoding]
            name = f"{tag}.{encoding}"
            best = self._store.find(name)
            if best is None:
                if self._store.add(name, well, data):
                    expires = BRIEFLY
                # Its bytes differ from the best's: so must a tag by which clients put ranges together.
                tag = f"{tag}-q"
                data = await asyncio.get_running_loop().run_in_executor(None, quickly, data)
            else:
                data = best
            tag = f"{tag}-{encoding}"
            new[b"content-encoding"] = encoding.encode()
        new[b"etag"] = f'"{tag}"'.encode()
        new[b"content-length"] = str(len(data)).encode()
        new[b"x-accel-expires"] = str(expires).encode()
        if shinys:
            new[b"cache-control"] = self._immutable
        elif b"cache-control" not in given:
            new[b"cache-control"] = b"no-cache"  # kept by browsers, and asked for with its tag each time
        return [*((key, value) for key, value in headers if key.lower() not in new), *new.items()], data


def _is_plain(scope: Any) -> bool:
    """Whether a request is for a path as it stands, and all of it: nothing that nginx could read otherwise."""
    path: str = scope["path"]
    asked = {key for key, _ in scope["headers"]}
    return (
        scope.get("raw_path") == path.encode()
        and "//" not in path
        and "/." not in path
        and asked.isdisjoint((b"range", b"if-none-match", b"if-modified-since"))
    )


def _may_be_kept(headers: dict[bytes, bytes]) -> bool:
    """Whether a response is the same for everybody, by its headers, and not too large."""
    control = headers.get(b"cache-control", b"").lower()
    return (
        b"set-cookie" not in headers
        and headers.get(b"vary", b"accept-encoding").strip().lower() == b"accept-encoding"
        and not any(word in control for word in (b"no-store", b"private"))
        and int(headers.get(b"content-length", b"0")) <= LARGEST
    )
