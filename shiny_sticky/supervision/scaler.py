"""Lets an app have as many workers as it needs: what supervision/scaling.py decides is done here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from shiny_sticky import memory
from shiny_sticky.concurrency import comes_in_time, in_parallel
from shiny_sticky.errors import StartFailed
from shiny_sticky.settings.names import worker_names
from shiny_sticky.supervision.scaling import AGAIN_SECONDS, Decision, Situation, Wanted, WorkerLoad, decide
from shiny_sticky.supervision.site import Site
from shiny_sticky.supervision.slot import Slot

# Seconds between two looks when nothing changes: whether it was quiet for long, whether a worker is late.
LOOK_SECONDS = 5.0

# Workers that are started at a time.
AT_A_TIME = 4


class Scaler:
    """The number of an app's workers.

    Args:
        site: what runs.
        app_name: whose workers.
        keep_filled: takes each slot that is added.
    """

    def __init__(self, site: Site, app_name: str, keep_filled: Callable[[Slot], None]) -> None:
        self._site = site
        self._app_name = app_name
        self._keep_filled = keep_filled
        self._quiet_since = time.monotonic()
        self._changed_at = 0.0
        self._failed_at = -AGAIN_SECONDS
        self._kept = ""  # why the workers that are needed are not started

    async def run(self) -> None:
        """Go on until cancelled. A deploy may take the app away, and bring it back."""
        news = self._site.news_of(self._app_name)
        while True:
            await comes_in_time(news.wait, LOOK_SECONDS)
            news.clear()
            app = self._site.settings.apps.get(self._app_name)
            leave_alone = self._site.deploying.locked() or not self._site.is_awake(self._app_name)
            if app is not None and not app.workers.is_fixed and not leave_alone:
                async with self._site.scaling:
                    await self._look(Wanted.of(app))

    async def _look(self, wanted: Wanted) -> None:
        """Decide, and do it."""
        now = self._situation(wanted.isolated)
        if wanted.needed(now.demand) >= len(now.workers):
            self._quiet_since = time.monotonic()
        decision = decide(wanted, now)
        if decision.short_of_memory:
            self._site.short_of_memory.add(self._app_name)
        else:
            self._site.short_of_memory.discard(self._app_name)
        self._say(decision, len(now.workers), quietly=wanted.isolated)
        if decision.grow and time.monotonic() >= self._failed_at + AGAIN_SECONDS:
            await self._grow(decision.grow)
        elif decision.shrink:
            self._site.retire([decision.shrink])
            self._changed_at = time.monotonic()
            if not wanted.isolated:  # of those that a crowd has left behind, one goes at each look
                self._quiet_since = self._changed_at

    def _situation(self, isolated: bool) -> Situation:
        now = time.monotonic()
        serving = [(slot.name, slot.current) for slot in self._site.slots_of(self._app_name) if slot.current]
        # Of those whose one session goes on after a deploy, some always are.
        leaving = not isolated and any(
            slot.release.app_name == self._app_name and slot.alive for slot in self._site.retired
        )
        return Situation(
            workers=[WorkerLoad(name, one.sessions + one.expected, one.late) for name, one in serving],
            look_at_memory=memory.look,
            quiet=now - self._quiet_since,
            settled=now - self._changed_at,
            leaving=leaving,
            waiting=self._site.waiting.get(self._app_name, 0),
        )

    def _say(self, decision: Decision, workers: int, quietly: bool) -> None:
        """Tell what is done and why; what is not done, once.

        Args:
            decision: what it is.
            workers: that there are.
            quietly: tell `status` alone what is done, which is something for each session.
        """
        said = decision.told(workers)
        acts = bool(decision.grow or decision.shrink)
        if said and (acts or not self._kept):
            if not (acts and quietly):
                self._site.output.event(f"App {self._app_name} {said}")
            self._site.scaled[self._app_name] = said
        self._kept = "" if acts else said

    async def _grow(self, number: int) -> None:
        """Start more workers, a few at a time; what fails is said, and tried again after a while."""
        release = self._site.slots_of(self._app_name)[0].release
        turns = asyncio.Semaphore(AT_A_TIME)

        async def start(slot: Slot) -> None:
            async with turns:
                await slot.fill()
            self._site.slots[slot.name] = slot
            self._keep_filled(slot)

        try:
            await in_parallel(start(self._site.new_slot(name, release)) for name in self._free_names()[:number])
        except StartFailed as failure:
            self._failed_at = time.monotonic()
            self._site.output.problem(f"App {self._app_name} cannot grow, which is tried again soon. {failure}")
        finally:
            self._changed_at = self._quiet_since = time.monotonic()

    def _free_names(self) -> list[str]:
        """Names for new workers; last those whose earlier processes still have sessions."""
        most = self._site.settings.apps[self._app_name].workers.max
        draining = {slot.name for slot in self._site.retired if slot.alive}
        free = [name for name in worker_names(self._app_name, most) if name not in self._site.slots]
        return sorted(free, key=lambda name: name in draining)
