"""Files of HTML dependencies that another process of the app has registered with Shiny, and this one has not."""

from __future__ import annotations

import asyncio
import filecmp
import os
import stat
from pathlib import Path
from typing import Any

from ..dependencies import VERSIONED, Asked, DependencyNotes, Registered


class DependencyMiddleware:
    """Answers for a file that the app does not have with that of the process that has registered it.

    While two processes have different files under one URL, neither nginx nor browsers may keep one: each process
    answers with its own. Who did not come by its cookie gets that of the last import.

    Args:
        app: the ASGI app; it sees whole paths.
        notes: of what all processes have registered.
        worker: this process's slot (``app2``), as cookies name it.
        kept: whether nginx keeps files.
    """

    def __init__(self, app: Any, notes: DependencyNotes, worker: str, kept: bool) -> None:
        self.app = app
        self._notes = notes
        self._named = f"={worker}".encode()
        self._kept = kept

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if not _may_be_file(scope):
            await self.app(scope, receive, send)
            return
        response = None
        if self._kept:
            asked = self._notes.asked(scope["path"])
            if asked is not None and len(asked.folders) > 1 and await asyncio.to_thread(_differ, asked):
                send = _not_kept(send)
                if self._is_for_another(scope, asked.folders[0]):
                    response = await _response(asked, scope)

        async def send_unless_missing(message: Any) -> None:
            nonlocal response
            if message["type"] == "http.response.start" and message["status"] == 404:
                asked = self._notes.asked(scope["path"])
                response = None if asked is None else await _response(asked, scope)
            if response is None:
                await send(message)

        if response is None:
            await self.app(scope, receive, send_unless_missing)
        if response is not None:
            await response(scope, receive, send)

    def _is_for_another(self, scope: Any, newest: Registered) -> bool:
        """Whether a request may come from a page of a newer process: its cookie does not say that it is of this."""
        if newest.imported <= self._notes.imported or self._notes.has(newest):
            return False
        cookies = (value for key, value in scope["headers"] if key == b"cookie")
        return not any(part.strip().endswith(self._named) for value in cookies for part in value.split(b";"))


def _may_be_file(scope: Any) -> bool:
    """Whether a request may be for a file of an HTML dependency."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and VERSIONED.search(scope["path"]) is not None
    )


def _not_kept(send: Any) -> Any:
    """The `send` of a response that nobody may keep."""

    async def send_not_kept(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"cache-control"]
            message = {**message, "headers": [*headers, (b"cache-control", b"private, no-cache")]}
        await send(message)

    return send_not_kept


def _differ(asked: Asked) -> bool:
    """Whether the folders that are there have different files by the name that is asked for."""
    files: list[Any] = [
        _file(folder.source, asked.file) for folder in asked.folders if Path(folder.source).is_dir()
    ]
    if None in files:
        return any(files)
    try:
        return any(not filecmp.cmp(files[0], file, shallow=False) for file in files[1:])
    except OSError:  # one has just been removed
        return True


def _static(source: str) -> Any:
    """What Shiny itself serves a folder with."""
    from shiny.http_staticfiles import StaticFiles

    return StaticFiles(directory=source, check_dir=False)


def _file(source: str, file: str) -> str | None:
    """The path of a file in a folder; None if there is none."""
    try:
        path, found = _static(source).lookup_path(os.path.normpath(file))
    except (OSError, ValueError):
        return None
    return path if found is not None and stat.S_ISREG(found.st_mode) else None


async def _response(asked: Asked, scope: Any) -> Any:
    """A response with the file; None if it is nowhere."""
    for folder in asked.folders:
        try:
            return await _static(folder.source).get_response(os.path.normpath(asked.file), scope)
        except Exception:  # starlette's, for a file that is not there or must not be read; or the folder is gone
            continue
    return None
