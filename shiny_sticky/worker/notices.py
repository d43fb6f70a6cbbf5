"""What the pages of a worker are told beside what the app says: a new version, an announcement, their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NEW_VERSION = "new_version"
"""A deploy has brought one; this worker goes on with the old one for the sessions that it has."""

LEAVING = "leaving"
"""The worker ends soon, and its sessions with it."""

STOPPING = "stopping"
"""So does the whole site: there is nowhere else to go."""

ANNOUNCEMENT = "announcement"
"""Whoever runs the site has something to say."""

# Seconds before the end of a drain at which pages are warned.
WARNING_SECONDS = 60


@dataclass(frozen=True)
class Notice:
    """One thing that pages are told.

    Attributes:
        kind: of those above; a later notice of a kind replaces the one before.
        text: an announcement's; empty if there is none any more.
        ends_at: when what it tells of happens, by the event loop's clock; None if that is not known.
    """

    kind: str
    text: str = ""
    ends_at: float | None = None

    def fields(self) -> dict[str, Any]:
        """What a page is told: `kind`, an announcement's `text`, and the `seconds` that are left."""
        told: dict[str, Any] = {"kind": self.kind}
        if self.kind == ANNOUNCEMENT:
            told["text"] = self.text
        if self.ends_at is not None:
            told["seconds"] = max(0.0, round(self.ends_at - asyncio.get_running_loop().time(), 1))
        return told


class Notices:
    """The notices that stand: told to all pages that are open, and to each that opens or comes back later.

    Attributes:
        on_notice: tells a notice to the pages that are open.
    """

    def __init__(self) -> None:
        self.on_notice: Callable[[Notice], None] = lambda _: None
        self._standing: dict[str, Notice] = {}

    def put(self, notice: Notice) -> None:
        """Let a notice stand, and tell it, unless it stands already."""
        if self._standing.get(notice.kind) != notice:
            self._standing[notice.kind] = notice
            self.on_notice(notice)

    def standing(self) -> list[Notice]:
        """What a page is told that opens now, or comes back."""
        return list(self._standing.values())

    async def warn_before_end(self, seconds: float) -> None:
        """Warn the pages in time, before their sessions are closed.

        Args:
            seconds: after which that is.
        """
        ends_at = asyncio.get_running_loop().time() + seconds
        await asyncio.sleep(seconds - WARNING_SECONDS)
        self.put(Notice(LEAVING, ends_at=ends_at))
