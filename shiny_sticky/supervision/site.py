"""What runs: the slots of all workers, and the releases that their processes come from."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Collection
from pathlib import Path

from shiny_sticky.front.nginx_process import Front
from shiny_sticky.output import Output
from shiny_sticky.settings.model import AppSettings, Settings
from shiny_sticky.settings.names import is_worker_of, seat_names, worker_names, worker_of
from shiny_sticky.supervision.announcement import Announcement
from shiny_sticky.supervision.cgroups import Groups
from shiny_sticky.supervision.leftovers import OrphanProcess
from shiny_sticky.supervision.pool import Pool
from shiny_sticky.supervision.recycling import RecycleTurn
from shiny_sticky.supervision.release import Release
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.scaling import Wanted
from shiny_sticky.supervision.slot import Slot
from shiny_sticky.worker.protocol import Announce

# Renders nginx's configuration for settings and has nginx test it; writes it if the second argument is true. The
# third are the apps that are not Shiny's. Gives whether it differs from the file.
Configure = Callable[[Settings, bool, Collection[str]], bool]


class Site:
    """Everything that one settings file asks for, as far as it runs.

    Args:
        settings: the settings.
        folder: the settings file's.
        run_dir: prepared and locked.
        front: nginx; None if it is not the launcher's to run.
        output: where to say what happens.
        pages_follow: whether open pages are to come back with each deploy's new code (--reload).

    Attributes:
        settings: those of the last deploy that went well.
        slots: by the names of the workers; those that new clients come to.
        retired: slots that a deploy has removed; their processes may still have sessions.
        releases: those that workers come from, and earlier ones whose fork servers still run.
        orphans: what an earlier launcher has left running, until it has ended.
        groups: the control groups of workers that have limits.
        deploying: held while a deploy or restart replaces processes.
        scaling: held while an app gets more workers or fewer, and by a deploy.
        scaled: what was done last about the number of an app's workers, or not, and why; by app.
        short_of_memory: the apps that need more workers than there is memory for.
        waiting: how many visitors wait for a place; by app, where any do.
        announcement: what all pages show.
        started_at: Unix time, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        run_dir: RunDir,
        front: Front | None,
        output: Output,
        pages_follow: bool = False,
    ) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.front = front
        self.output = output
        self.slots: dict[str, Slot] = {}
        self.retired: list[Slot] = []
        self.releases: list[Release] = []
        self.orphans: list[OrphanProcess] = []
        self.groups = Groups(run_dir.path, output.problem)
        self.deploying = asyncio.Lock()
        self.scaling = asyncio.Lock()
        self.scaled: dict[str, str] = {}
        self.short_of_memory: set[str] = set()
        self.waiting: dict[str, int] = {}
        self.announcement = Announcement(run_dir.path)
        self.started_at = time.time()
        self._folder = folder
        self._pages_follow = pages_follow
        self._pools: dict[str, Pool] = {}  # by app, as are these
        self._recycle_turns: dict[str, RecycleTurn] = {}

    @property
    def all_slots(self) -> list[Slot]:
        """Every slot that has a process: those that are served from, and retired ones that drain."""
        return [*self.slots.values(), *(slot for slot in self.retired if slot.alive)]

    @property
    def sessions(self) -> int:
        """How many sessions are open, as far as the workers have said so."""
        return sum(process.sessions for slot in self.all_slots for process in slot.alive)

    def new_releases(self, settings: Settings) -> dict[str, Release]:
        """A new release of each app.

        Args:
            settings: what they say.

        Returns:
            Every worker that the settings ask for, with the release that it is to serve.
        """
        wanted: dict[str, Release] = {}
        for app_name, app in settings.apps.items():
            release = self.new_release(app_name, settings)
            wanted |= dict.fromkeys(self._wanted_workers(app_name, app), release)
        return wanted

    def new_release(self, app_name: str, settings: Settings) -> Release:
        """A new release of one app.

        Args:
            app_name: the app's.
            settings: what they say of it.
        """
        release = Release(
            app_name, settings, self._folder, self.run_dir, self.output, self._pages_follow, self.groups
        )
        self.releases.append(release)
        return release

    def _wanted_workers(self, app_name: str, app: AppSettings) -> list[str]:
        """The workers of an app that go on, and those that it needs to have as many as it must.

        Where a worker has one session alone, those that have it do not go on: their processes drain with it.
        """
        possible = worker_names(app_name, app.workers.max)
        serving = [name for name in possible if name in self.slots and not (app.isolated and self._is_taken(name))]
        others = sorted((name for name in possible if name not in serving), key=lambda name: name in self.slots)
        fewest = Wanted.of(app).needed(0) if app.isolated else app.workers.min
        return serving + others[: max(0, fewest - len(serving))]

    def _is_taken(self, name: str) -> bool:
        """Whether a worker has, or had, a session."""
        process = self.slots[name].current
        return process is not None and process.sessions_served > 0

    def slots_of(self, app_name: str) -> list[Slot]:
        """The slots of an app that new clients come to, the newest last."""
        return [slot for slot in self.slots.values() if slot.release.app_name == app_name]

    def pool(self, app_name: str) -> Pool:
        """Where the visitors of an app come to, which is served."""
        return self._pools[app_name]

    def news_of(self, app_name: str) -> asyncio.Event:
        """Set when a worker of an app has more sessions or fewer."""
        return self._pools[app_name].news

    async def announce(self, text: str) -> str:
        """Have all pages show a text, those that are opened later, too.

        Args:
            text: in place of the one before; empty for none any more.

        Returns:
            What was done, in a sentence.

        Raises:
            StickyError: it is too long.
        """
        self.announcement.say(text)
        self.tell_all(Announce(self.announcement.text))
        if not self.announcement.text:
            return "No page shows an announcement any more"
        return f"All open pages show it (sessions: {self.sessions}), and those that are opened from now on"

    def tell_all(self, message: object) -> None:
        """Tell all workers something, those of an earlier launcher, too.

        Args:
            message: of worker/protocol.py.
        """
        for slot in self.all_slots:
            for process in slot.alive:
                process.tell(message)
        for orphan in self.orphans:
            orphan.tell(message)

    def retire(self, names: Collection[str]) -> None:
        """Take workers out of the table; each ends with its last session."""
        removed = [self.slots.pop(name) for name in names]
        for slot in removed:
            slot.retire()
        self.remove_unused_links()
        self.retired = [slot for slot in self.retired + removed if slot.alive]

    def has_orphans(self, app_name: str) -> bool:
        """Whether workers of an earlier launcher still have sessions of an app."""
        workers = (worker_of(orphan.name) for orphan in self.orphans if orphan.is_worker)
        return any(is_worker_of(worker, app_name) for worker in workers)

    def sleeps(self, app_name: str) -> bool:
        """Whether an app, which is served, has no process until somebody comes."""
        return all(slot.asleep for slot in self.slots_of(app_name))

    def is_awake(self, app_name: str) -> bool:
        """Whether no worker of an app sleeps, or is being woken."""
        return all(slot.waiting is None for slot in self.slots_of(app_name))

    def new_slot(self, name: str, release: Release) -> Slot:
        """A slot for a worker, not filled yet, and not in the table."""
        turn = self._recycle_turns.setdefault(release.app_name, RecycleTurn())
        pool = self._pool_of(release.app_name, release.app.workers.max)
        slot = Slot(name, release, self.run_dir, pool, self.output, turn, self.deploying, self.announcement)
        slot.let_go = functools.partial(self._let_go, slot)
        return slot

    def _let_go(self, slot: Slot) -> bool:
        """Take a worker out of the table that can have no session any more, if its app has more than it needs.

        Returns:
            Whether that was done.
        """
        if self.deploying.locked() or self.slots.get(slot.name) is not slot:
            return False
        others = [other.current for other in self.slots_of(slot.release.app_name) if other is not slot]
        sessions = sum(process.sessions + process.expected for process in others if process is not None)
        if len(others) < Wanted.of(slot.app).needed(sessions + self.waiting.get(slot.release.app_name, 0)):
            return False
        self.retire([slot.name])
        return True

    def _pool_of(self, app_name: str, seats: int) -> Pool:
        """Where the visitors of an app come to; with so many seats if it is new."""
        if app_name not in self._pools:
            self._pools[app_name] = Pool(app_name, self.run_dir.path, seats)
        return self._pools[app_name]

    def resize_pools(self, settings: Settings, *, grow: bool) -> None:
        """Have as many seats as nginx is about to know (before it does), or knows by now.

        Args:
            settings: what they are to be by.
            grow: only add some; else only take some away.

        Raises:
            OSError: the disk is full.
        """
        for app_name, app in settings.apps.items():
            pool = self._pool_of(app_name, app.workers.max)
            if (app.workers.max > pool.seats) == grow:
                pool.resize(app.workers.max)

    def remove_unused_links(self) -> None:
        """Remove the links of workers, and the seats, that nobody uses (any more)."""
        seats = [name for app, pool in self._pools.items() for name in seat_names(app, pool.seats)]
        self.run_dir.remove_links(except_for={*self.slots, *seats})

    def not_shiny(self) -> set[str]:
        """The apps that are not Shiny's, as far as their processes have said so."""
        return {slot.release.app_name for slot in self.slots.values() if not slot.release.is_shiny}

    def drop_unused_releases(self) -> None:
        """Let go of the releases that no worker comes from any more."""
        used = {slot.release for slot in self.slots.values()}
        for release in self.releases:
            if release not in used:
                release.drain()
        self.releases = [release for release in self.releases if release in used or not release.ended]

    def clear_cache(self) -> None:
        """Let nginx ask the workers for each file anew, for they have new code."""
        try:
            self.run_dir.clear_cache()
        except OSError as error:
            self.output.problem(
                f"nginx's cache cannot be emptied ({error.filename}: {error.strerror}); files from before the "
                f"deploy may be served on. As root: find {self.run_dir.cache} -type f -delete"
            )
