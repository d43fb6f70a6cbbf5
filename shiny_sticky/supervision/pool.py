"""Which workers new visitors come to: those that are heard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

# Seconds without a sign of life from a worker, after which new visitors go to others. One comes every second. What
# connections nginx has kept from earlier visitors, for a second as well, are gone by then: it needs the link.
SILENT_SECONDS = 3.0


class Pool:
    """The workers of an app that new visitors come to.

    For them alone nginx connects by the links in a folder of their own. It looks for a link at every connect; where
    there is none, it goes on to the next worker, as if this one were dead. Who names a worker comes to it anyhow.

    Args:
        folder: of the links.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workers: set[str] = set()
        self._silent: set[str] = set()

    def add(self, worker: str) -> None:
        """Let a worker, which serves now, belong to the pool.

        Raises:
            OSError: the disk is full.
        """
        self._workers.add(worker)
        self._publish()

    def remove(self, worker: str) -> None:
        """Let a worker belong to the pool no more."""
        self._workers.discard(worker)
        self._leave_out(worker)
        self._publish()

    @contextlib.contextmanager
    def without(self, worker: str) -> Iterator[None]:
        """Send no new visitors to a worker while a block runs, as long as there are others that are heard."""
        self._silent.add(worker)
        self._publish()
        try:
            yield
        finally:
            self._silent.discard(worker)
            self._publish()

    def is_silent(self, worker: str) -> bool:
        """Whether new visitors are not to come to a worker at the moment."""
        return worker in self._silent

    def _publish(self) -> None:
        """Put the links as they should be: all, if no worker is heard; to wait is better than to be turned away."""
        left_out = self._silent if self._workers - self._silent else set()
        for worker in self._workers:
            if worker in left_out:
                self._leave_out(worker)
            else:
                self._take_in(worker)

    def _take_in(self, worker: str) -> None:
        link = self._folder / f"{worker}.sock"
        with contextlib.suppress(FileNotFoundError):  # another name takes no room on a full disk
            link.with_suffix(".out").rename(link)
        if not link.is_symlink():
            link.symlink_to(f"../{worker}.sock")

    def _leave_out(self, worker: str) -> None:
        link = self._folder / f"{worker}.sock"
        with contextlib.suppress(FileNotFoundError):
            link.rename(link.with_suffix(".out"))
