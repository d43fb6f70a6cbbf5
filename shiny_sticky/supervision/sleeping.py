"""Apps that nobody uses sleep: they have no process, until a request comes."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from shiny_sticky import processes
from shiny_sticky.concurrency import comes_in_time, in_parallel
from shiny_sticky.errors import StartFailed, StickyError
from shiny_sticky.supervision.activation import ActivationSocket
from shiny_sticky.supervision.held_requests import HeldRequests
from shiny_sticky.supervision.site import Site
from shiny_sticky.supervision.slot import Slot

# Seconds that an app may take to wake, before who waits for a page is shown another that says so.
SLOW_SECONDS = 3

# What workers say of themselves is not newer than this.
HEARTBEAT_SECONDS = 1

# Seconds between two attempts to let an app sleep that is being deployed, or short of descriptors.
LATER_SECONDS = 5


class SleepCycle:
    """Lets an app sleep while nobody uses it, and wakes it when somebody comes.

    Args:
        app_name: the app's.
        site: what runs.
        keep: takes each slot that has a process again, to keep it filled.
        publish: lets nginx know that apps have turned out not to be Shiny's.
    """

    def __init__(
        self, app_name: str, site: Site, keep: Callable[[Slot], None], publish: Callable[[], Awaitable[None]]
    ) -> None:
        self.app_name = app_name
        self._site = site
        self._keep = keep
        self._publish = publish
        self._called = asyncio.Event()
        self._backoff = processes.Backoff()

    @property
    def _slots(self) -> list[Slot]:
        return self._site.slots_of(self.app_name)

    @property
    def _timeout(self) -> float | None:
        app = self._site.settings.apps.get(self.app_name)
        return None if app is None else app.idle_timeout

    async def run(self) -> None:
        """Do so until the app is awake, and the settings say that it does not sleep, or is there no more."""
        while True:
            timeout = self._timeout
            if any(slot.asleep for slot in self._slots):
                if timeout is not None:
                    await self._called.wait()
                self._called.clear()
                await self._wake([slot for slot in self._slots if slot.asleep])
            elif timeout is None:
                return
            elif await self._unused(timeout):
                await self._fall_asleep(timeout)

    def look_again(self) -> None:
        """Notice that the settings are others now."""
        if self._timeout is None or not self._site.sleeps(self.app_name):
            self._called.set()

    def put_to_sleep(self, slot: Slot) -> ActivationSocket:
        """Let a slot have no process until somebody comes.

        Returns:
            The socket that waits for that.

        Raises:
            OSError: too few descriptors, or the disk is full; nothing has changed.
        """
        waiting = ActivationSocket(self._site.run_dir, slot.name, self._called.set)
        slot.fall_asleep(waiting)
        return waiting

    async def _unused(self, timeout: float) -> bool:
        """Wait until nobody has used the app for some seconds.

        Returns:
            Whether that is so; else the settings may be others now.
        """
        while True:
            idle = min((one.idle for slot in self._slots for one in slot.alive), default=0.0)
            idle = 0.0 if self._site.has_orphans(self.app_name) else idle
            if idle >= timeout:
                return True
            if await comes_in_time(self._called.wait, max(timeout - idle, HEARTBEAT_SECONDS)):
                self._called.clear()
                return False

    async def _fall_asleep(self, timeout: float) -> None:
        """End all processes of the app, unless something is being done with them."""
        site, slots = self._site, self._slots
        busy = site.deploying.locked() or site.scaling.locked()
        if busy or not all(slot.settled for slot in slots):
            await asyncio.sleep(LATER_SECONDS)
            return
        fewest = site.settings.apps[self.app_name].workers.min
        try:
            site.retire([slot.name for slot in slots[fewest:]])
            self._put_all_to_sleep(slots[:fewest])
        except OSError as error:
            site.output.problem(f"App {self.app_name} cannot sleep: {error}")
            await asyncio.sleep(LATER_SECONDS)
        else:
            site.output.event(f"App {self.app_name} sleeps: nobody has used it for {timeout:g} s (idle_timeout)")

    def _put_all_to_sleep(self, slots: Sequence[Slot]) -> list[ActivationSocket]:
        """Let slots sleep, and the process that has imported the app end with the last of its forks."""
        site = self._site
        release = site.new_release(self.app_name, site.settings)
        release.is_shiny = all(slot.release.is_shiny for slot in slots)
        self._called.clear()
        sockets = []
        for slot in slots:
            sockets.append(self.put_to_sleep(slot))
            slot.release = release
        site.drop_unused_releases()
        return sockets

    async def _wake(self, slots: Sequence[Slot]) -> None:
        """Give slots processes, which find waiting who has come for them."""
        site = self._site
        began = time.monotonic()
        known = site.not_shiny()
        held = HeldRequests(site.run_dir)
        site.output.event(f"App {self.app_name} wakes")
        patience = asyncio.create_task(_lose_patience(slots, held))
        try:
            await in_parallel(slot.fill() for slot in slots)
            held.decide(True)
        except StartFailed as failure:
            slots[0].report_failure(failure)
            await self._turn_away(slots, held)
            return
        finally:
            patience.cancel()
            held.decide(False)
        site.output.event(f"App {self.app_name} is awake after {time.monotonic() - began:.1f} s")
        for slot in slots:
            if site.slots.get(slot.name) is slot:
                self._keep(slot)
            else:  # a deploy has removed it meanwhile
                slot.retire()
        if site.not_shiny() != known:
            await self._publish()

    async def _turn_away(self, slots: Sequence[Slot], held: HeldRequests) -> None:
        """Refuse who has come for an app that cannot be started, and who comes in the next moment; then wait."""
        held.decide(False)
        delay = self._backoff.delay(0) or self._backoff.FIRST
        self._site.output.event(f"App {self.app_name} is tried again at the next request in {delay:g} s or later")
        for slot in slots:
            if slot.waiting is not None:
                held.take(slot.waiting)
        sockets = self._put_all_to_sleep(slots)
        for waiting in sockets:
            held.take(waiting)
        await asyncio.sleep(delay)
        self._called.clear()
        for slot in slots:
            if slot.waiting is not None:
                slot.waiting.wait()


async def _lose_patience(slots: Sequence[Slot], held: HeldRequests) -> None:
    """Let the launcher answer who waits, once that takes long."""
    await asyncio.sleep(SLOW_SECONDS)
    for slot in slots:
        if slot.waiting is not None:
            held.take(slot.waiting)


class SleepCycles:
    """The cycles of all apps that sleep while nobody uses them.

    Args:
        site: what runs.
        keep: runs a task, which may take for ever, in the background.
        publish: lets nginx know that apps have turned out not to be Shiny's.
    """

    def __init__(
        self,
        site: Site,
        keep: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        publish: Callable[[], Awaitable[None]],
    ) -> None:
        self._site = site
        self._keep = keep
        self._publish = publish
        self._cycles: dict[str, SleepCycle] = {}
        self._running: set[str] = set()

    def put_to_sleep(self, slot: Slot) -> None:
        """Let a slot, which has no process yet, have none until somebody comes.

        Raises:
            StickyError: that is not possible; too few descriptors, say.
        """
        try:
            self._cycle(slot.release.app_name).put_to_sleep(slot)
        except OSError as error:
            raise StickyError(f"{slot.name} cannot be let sleep: {error}") from None

    def follow_settings(self) -> None:
        """Let those apps sleep from now on that the settings name, and no others."""
        for name, app in self._site.settings.apps.items():
            if app.idle_timeout is not None and name not in self._running:
                self._running.add(name)
                self._keep(functools.partial(self._run, self._cycle(name)))
        for cycle in self._cycles.values():
            cycle.look_again()

    def _cycle(self, app_name: str) -> SleepCycle:
        if app_name not in self._cycles:
            self._cycles[app_name] = SleepCycle(app_name, self._site, self._keep_slot, self._publish)
        return self._cycles[app_name]

    def _keep_slot(self, slot: Slot) -> None:
        self._keep(slot.keep_filled)

    async def _run(self, cycle: SleepCycle) -> None:
        await cycle.run()
        self._running.remove(cycle.app_name)
