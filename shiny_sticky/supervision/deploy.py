"""A deploy: every worker is replaced by a new process, and no session is dropped.

What the replaced processes do from then on is worker/draining.py.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shiny_sticky.concurrency import in_parallel
from shiny_sticky.errors import StickyError
from shiny_sticky.front.nginx_process import check_ports
from shiny_sticky.settings.model import Settings
from shiny_sticky.supervision.release import Release
from shiny_sticky.supervision.site import Configure, Site
from shiny_sticky.supervision.sleeping import SleepCycles
from shiny_sticky.supervision.slot import Slot
from shiny_sticky.worker.protocol import Superseded

# Settings that running processes were started with, and that nothing but new ones can take up.
NEEDS_STOP = ("run_dir", "user", "nginx")


def refuse_what_needs_a_stop(old: Settings, new: Settings) -> None:
    """Let settings pass that running processes can be replaced with one by one.

    Args:
        old: what they were started with.
        new: those to be.

    Raises:
        StickyError: there is a change that they cannot.
    """
    for key in NEEDS_STOP:
        if getattr(new, key) != getattr(old, key):
            raise StickyError(f"{key} has changed: that takes a stop and a new start of the launcher.")


# Bytes that must be free before what nginx keeps is thrown away.
ROOM = 4 << 20


class Deploy:
    """One deploy of a site. If it fails before the first worker is replaced, nothing has changed.

    Args:
        site: what runs.
        load: reads the settings file anew.
        configure: renders nginx's configuration and has nginx test it; writes it if the second argument is true.
            The third are the apps that are not Shiny's. Returns whether it differs from the file.
        keep_filled: takes each slot that the deploy has added.
        sleep: has the apps that sleep.
    """

    def __init__(
        self,
        site: Site,
        load: Callable[[], Settings],
        configure: Configure,
        keep_filled: Callable[[Slot], None],
        sleep: SleepCycles,
    ) -> None:
        self._site = site
        self._load = load
        self._configure = configure
        self._keep_filled = keep_filled
        self._sleep = sleep

    async def run(self) -> str:
        """Check, import, replace, publish.

        Returns:
            What was done, in a sentence.

        Raises:
            StickyError: a mistake in the settings (nothing has changed), or a worker that did not come up (it, and
                those after it, are still the old ones).
        """
        site = self._site
        began = time.monotonic()
        settings = await self._check()
        wanted = site.new_releases(settings)
        site.output.event(f"Deploying {len(wanted)} workers, {settings.deploy.surge} at a time")
        try:
            # Before anything that serves is touched.
            first = {release: worker for worker, release in reversed(wanted.items()) if not self._sleeps(release)}
            await in_parallel(release.prepare(worker) for release, worker in first.items())
            await self._replace(wanted, settings)
        finally:
            site.drop_unused_releases()
        return f"Deployed {len(wanted)} workers in {time.monotonic() - began:.1f} s"

    async def _check(self) -> Settings:
        """Read the settings, and let nothing begin that cannot go well."""
        site = self._site
        settings = self._load()
        refuse_what_needs_a_stop(site.settings, settings)
        if site.front is not None:
            check_ports(settings.listen, ours=site.front.members())
        if settings.cache.enabled:
            await asyncio.to_thread(check_room, site.run_dir.path)
        await asyncio.to_thread(self._configure, settings, False, ())
        return settings

    async def _replace(self, wanted: dict[str, Release], settings: Settings) -> None:
        """Let new processes serve, and what nginx keeps be theirs."""
        site = self._site
        try:
            # Now, so that new workers' pages get new files; and in the end again, for old workers serve until then.
            site.clear_cache()
            await self._roll(wanted, settings.deploy.surge)
            site.resize_pools(settings, grow=True)
            await publish(site, self._configure, settings)
            site.resize_pools(settings, grow=False)
            site.settings = settings
            if site.output.log is not None:
                site.output.log.limit(settings.log.max_size, settings.log.keep)
            site.retire([name for name in site.slots if name not in wanted])
            self._sleep.follow_settings()
            self._tell_old_workers()
        finally:
            site.clear_cache()

    def _tell_old_workers(self) -> None:
        """Let the pages of those who still have sessions know that there is something newer."""
        for slot in self._site.all_slots:
            for process in slot.draining:
                process.tell(Superseded())
        for orphan in self._site.orphans:
            orphan.tell(Superseded())

    def _sleeps(self, release: Release) -> bool:
        """Whether the app of a release sleeps: it needs no process now, and takes the release when it wakes."""
        if not self._site.slots_of(release.app_name):
            return release.app.idle_timeout is not None
        return self._site.sleeps(release.app_name)

    async def _roll(self, wanted: dict[str, Release], surge: int) -> None:
        """Fill every slot anew, a few at a time; if one fails, those that are being started are given up."""
        turns = asyncio.Semaphore(surge)

        async def replace(name: str, release: Release) -> None:
            async with turns:
                slot = self._site.slots.get(name)
                if slot is None:
                    await self._add(self._site.new_slot(name, release))
                else:
                    await slot.replace(release)

        await in_parallel(replace(name, release) for name, release in wanted.items())

    async def _add(self, slot: Slot) -> None:
        """Take a slot into the table, filled or, if its app sleeps, asleep as well."""
        if self._sleeps(slot.release):
            self._sleep.put_to_sleep(slot)
            self._site.slots[slot.name] = slot
        else:
            await slot.replace(slot.release)
            self._site.slots[slot.name] = slot
            self._keep_filled(slot)


async def publish(site: Site, configure: Configure, settings: Settings) -> None:
    """Let nginx know what has changed for it.

    Args:
        site: what runs.
        configure: as a deploy has it.
        settings: to be rendered.

    Raises:
        StickyError: nginx refuses it, and keeps the configuration that it has.
    """
    if not await asyncio.to_thread(configure, settings, True, site.not_shiny()):
        return
    if site.front is not None:
        await site.front.reload()
        site.output.event("nginx has read its new configuration")
    else:
        site.output.event(f"{settings.nginx.conf} has changed; nginx is yours to reload: nginx -s reload")


def check_room(folder: Path) -> None:
    """See to it that files can be written: what nginx keeps must not be thrown away when it cannot be had anew.

    Args:
        folder: run_dir.

    Raises:
        StickyError: the disk is full, or takes no more for another reason.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(ROOM))
    except OSError as error:
        raise StickyError(
            f"run_dir {folder} takes no new files: {error.strerror}. Free at least {ROOM >> 20} MB there."
        ) from None
