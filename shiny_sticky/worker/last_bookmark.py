"""The last bookmark of each session: what a page begins its next session with when this process is gone.

A bookmark is made, by Shiny's own means, a moment after something has passed between a session and its page; its
query is told to the page. What Shiny writes to disk for it goes to a folder of the app's processes, not among the
bookmarks that visitors have made, unless the app says where all of them go.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .resume import wire
from .resume.connection import say
from .resume.session import Session as Carrier
from .resume.sessions import COMES_BACK

# Seconds after what has changed something, in which more may change; and after a bookmark that is on disk.
PAUSE = 1.0
DISK_PAUSE = 5.0

# Characters of the longest query that is told to a page.
LONGEST_QUERY = 1 << 18

# Seconds after which a bookmark that another one has followed is removed: until then its page may know of no later
# one, being on a connection that has fallen silent.
SUPERSEDED_SECONDS = 60

# Seconds after which those of processes that are gone are removed.
KEEP_SECONDS = 7 * 24 * 3600

# A bookmark's id, as Shiny makes them.
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Whether what is made now is not a visitor's bookmark.
_keeping: ContextVar[bool] = ContextVar("keeping", default=False)


class LastBookmark:
    """Makes a session's bookmarks.

    Args:
        session: Shiny's.
        carrier: what carries it.
    """

    def __init__(self, session: Any, carrier: Carrier) -> None:
        self._session = session
        self._carrier = carrier
        self._changed = False
        self._task: asyncio.Task[None] | None = None
        self._query = ""
        self._folder: Path | None = None  # of the last one, if it is on disk
        self._superseded: list[tuple[float, Path]] = []
        session.bookmark.on_bookmark(self._note_folder)
        session.on_ended(self._end)

    def note_change(self) -> None:
        """Something has passed between the session and its page."""
        self._changed = True
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Make bookmarks until there is nothing new."""
        while self._changed:
            await asyncio.sleep(PAUSE)
            self._changed = False
            try:
                await self._make()
            except Exception as problem:  # of an app's callback: it is the app's to say what can be kept
                say(f"A session's last bookmark cannot be kept: {type(problem).__name__}: {problem}")
                return  # and is not tried again
            if self._folder is not None:
                await asyncio.sleep(DISK_PAUSE)
        self._task = None

    async def _make(self) -> None:
        """Make a bookmark, and tell its page, if that is there."""
        if self._carrier.connection is None:  # it will say something when it is back
            return
        query = (await _bookmark(self._session)).partition("?")[2]
        if query != self._query and len(query) <= LONGEST_QUERY:
            self._query = query
            self._carrier.standing = told = wire.encode(wire.BOOKMARK, query=query)
            if self._carrier.connection is not None:
                await self._carrier.connection.tell(told)
        self._remove_superseded(time.monotonic() - SUPERSEDED_SECONDS)

    def _note_folder(self, state: Any) -> None:
        """Shiny is about to write a bookmark: of this kind, or a visitor's."""
        if _keeping.get() and state.dir is not None:
            if self._folder is not None:
                self._superseded.append((time.monotonic(), self._folder))
            self._folder = Path(state.dir)

    def _remove_superseded(self, until: float) -> None:
        while self._superseded and self._superseded[0][0] <= until:
            shutil.rmtree(self._superseded.pop(0)[1], ignore_errors=True)

    def _end(self) -> None:
        """The session has ended: its page comes back, or nobody needs its bookmarks."""
        if self._task is not None:
            self._task.cancel()
        if self._carrier.ended not in COMES_BACK:
            if self._folder is not None:
                self._superseded.append((0.0, self._folder))
            self._remove_superseded(time.monotonic())


async def _bookmark(session: Any) -> str:
    """Make a bookmark of a Shiny session as it is now, without its files; gives its URL."""
    from shiny.reactive import flush, isolate, lock

    bookmark = session.bookmark
    async with lock():
        with isolate():
            excluded = bookmark.exclude
            bookmark.exclude = [*excluded, *_file_inputs(session)]  # they are handed over otherwise
            before = _keeping.set(True)
            try:
                url: str = await bookmark.get_bookmark_url()
            finally:
                _keeping.reset(before)
                bookmark.exclude = excluded
        await flush()  # what the app's callbacks have changed
    return url


def _file_inputs(session: Any) -> list[str]:
    """The names of inputs that hold uploaded files."""
    found = []
    for name, value in list(session.input._map.items()):
        with suppress(Exception):  # it has no value yet
            held = value()
            if isinstance(held, list) and held and isinstance(held[0], dict) and "datapath" in held[0]:
                found.append(str(name))
    return found


def use_folder(folder: Path) -> None:
    """Let Shiny write these bookmarks into a folder, and find them there, where the app has not said otherwise.

    Args:
        folder: of the app; its processes alone come to it.
    """
    from shiny.bookmark import set_global_restore_dir_fn, set_global_save_dir_fn
    from shiny.bookmark._bookmark_state import local_restore_dir, local_save_dir
    from shiny.bookmark._global import get_bookmark_save_dir_fn
    from shiny.types import MISSING

    if get_bookmark_save_dir_fn(MISSING) is not None:
        return
    _remove_old(folder)

    async def save(name: str) -> Path:
        if not _keeping.get():
            return await local_save_dir(name)
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / name

    async def restore(name: str) -> Path:
        if ID.fullmatch(name) and (folder / name).is_dir():
            return folder / name
        return await local_restore_dir(name)

    set_global_save_dir_fn(save)
    set_global_restore_dir_fn(restore)


def _remove_old(folder: Path) -> None:
    """Remove what processes have left that are gone for long."""
    with suppress(OSError):
        for each in folder.iterdir():
            if time.time() - each.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(each, ignore_errors=True)
