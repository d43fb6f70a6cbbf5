"""Keeps a site: starts the workers and nginx, answers signals, stops everything in order."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
import traceback
from collections.abc import Callable, Collection, Coroutine
from typing import Any, NoReturn

from shiny_sticky import processes, terminal
from shiny_sticky.errors import StartFailed, StickyError
from shiny_sticky.settings.model import Settings
from shiny_sticky.supervision import handover
from shiny_sticky.supervision.deploy import Deploy, publish
from shiny_sticky.supervision.leftovers import OrphanProcess, find_orphans
from shiny_sticky.supervision.log_keeper import rotate_logs
from shiny_sticky.supervision.nginx_keeper import restart_on_exit, start_or_adopt
from shiny_sticky.supervision.scaler import Scaler
from shiny_sticky.supervision.service_manager import ServiceManager
from shiny_sticky.supervision.shared_folders import empty_shared_folders
from shiny_sticky.supervision.site import Configure, Site
from shiny_sticky.supervision.sleeping import SleepCycles
from shiny_sticky.supervision.slot import Slot
from shiny_sticky.supervision.starting import start_workers
from shiny_sticky.supervision.stopping import Stoppable, StopRequest, stop_all
from shiny_sticky.supervision.summary import print_summary
from shiny_sticky.supervision.waiting_room import WaitingRooms
from shiny_sticky.worker.protocol import Announce, Stopping


class Supervisor:
    """Runs a site until a signal says to stop.

    Args:
        site: what is to run.
        load: reads the settings file anew.
        configure: renders nginx's configuration and has nginx test it; writes it if the second argument is true.
            The third are the apps that are not Shiny's. Returns whether it differs from the file.
    """

    def __init__(
        self,
        site: Site,
        load: Callable[[], Settings],
        configure: Configure,
    ) -> None:
        self.site = site
        self._output = site.output
        self._service_manager = ServiceManager(site)
        self._load = load
        self._configure = configure
        self._stop = StopRequest(site.output)
        self._leave = asyncio.Event()
        self._last_act: Callable[[], NoReturn] = handover.end_alone
        self._keepers: asyncio.TaskGroup | None = None  # while everything serves
        self._scaled: set[str] = set()  # the apps whose number of workers is looked after
        self._operations: set[asyncio.Task[str]] = set()
        self._sleep = SleepCycles(site, self._keep, self._publish)
        self._rooms = WaitingRooms(site, self._keep)

    async def run(self, services: Collection[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Serve until a signal says to stop; does not return if another launcher takes over.

        Args:
            services: each run once everything serves, until the end.

        Raises:
            StickyError: the workers or nginx do not come up; nothing that was started is left running.
        """
        self._take_signals()
        self.site.orphans = find_orphans(self.site.run_dir, self._output)
        taken_over = bool(self.site.orphans)
        informing = asyncio.create_task(self._guarded(self._service_manager.keep_informed))
        serving = asyncio.create_task(self._serve(services))
        ends = [asyncio.create_task(event.wait()) for event in (self._stop.made, self._leave)]
        await asyncio.wait({serving, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for task in ends if serving.done() else (serving, *ends):
            task.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            if self._leave.is_set():
                await self._make_way()
            await self._stop_all()
        except BaseException:
            await self._stop_all(keep_earlier=taken_over)
            raise
        finally:
            informing.cancel()

    # --- signals and commands

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle_stop, number)
        if terminal.ends_us():
            loop.add_signal_handler(signal.SIGHUP, self._handle_stop, signal.SIGHUP)
        else:
            loop.add_signal_handler(signal.SIGHUP, self._handle_hup)
        loop.add_signal_handler(signal.SIGUSR1, self._handle_usr1)
        handover.take_held_signals()

    def _handle_stop(self, number: signal.Signals) -> None:
        """End everything; open sessions get some time, unless this is the second such signal."""
        self._stop.handle(number, self.site.settings.stop.drain_timeout, self.site.sessions)

    def _handle_hup(self) -> None:
        """Deploy; how it went is said there."""
        if self._keepers is not None:
            self._begin(self._deploy())

    def _handle_usr1(self) -> None:
        """End the launcher alone, as systemd asks for between its stop and its start in a restart."""
        self._output.event("SIGUSR1: the launcher ends; nginx and the workers serve on until the next one is there")
        self._leave.set()

    async def prepare_handover(self) -> str:
        """See whether a new launcher would come up, with the settings, the apps and its own code as they are now.

        Returns:
            What is going to happen, in a sentence.

        Raises:
            StickyError: it would not; why.
        """
        return await asyncio.shield(self._begin(self._prepare_handover()))

    def hand_over(self) -> None:
        """Make way for a new launcher in this very process."""
        self._output.event("The launcher starts anew; nginx and the workers serve on")
        self._last_act = handover.become_next
        self._leave.set()

    async def deploy(self) -> str:
        """Read the settings again, and replace every worker without dropping a session.

        Returns:
            What was done, in a sentence.

        Raises:
            StickyError: as :meth:`.Deploy.run` does.
        """
        return await asyncio.shield(self._begin(self._deploy()))

    async def restart(self, name: str) -> str:
        """Replace one worker as in a deploy.

        Args:
            name: the worker.

        Returns:
            What was done, in a sentence.

        Raises:
            StickyError: there is none of that name, or it does not come up; the old one serves on.
        """
        return await asyncio.shield(self._begin(self._restart(name)))

    def _begin(self, operation: Coroutine[Any, Any, str]) -> asyncio.Task[str]:
        """Run an operation in the background; stopping the launcher cancels it."""
        task = asyncio.create_task(operation)
        task.add_done_callback(self._end_operation)
        self._operations.add(task)
        return task

    def _end_operation(self, task: asyncio.Task[str]) -> None:
        """Whoever asked for it may have gone: what is no message to a person is shown here."""
        self._operations.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, StickyError):
            self._print_traceback(error)

    async def _deploy(self) -> str:
        self._refuse_while_deploying()
        async with self.site.deploying, self.site.scaling:
            try:
                with self._service_manager.reloading():
                    done = await Deploy(self.site, self._load, self._configure, self._keep_slot, self._sleep).run()
            except StickyError as failure:
                for line in getattr(failure, "traceback", "").splitlines():
                    self._output.event(line, style="")
                self._output.problem(f"The deploy has failed; what served before serves on. {failure}")
                raise
            self._keep_scaled()
            self._rooms.follow_settings()
            self._output.event(done)
            return done

    async def _restart(self, name: str) -> str:
        slot = self.site.slots.get(name)
        if slot is None:
            raise StickyError(f"There is no worker {name}; there are: {', '.join(self.site.slots)}")
        self._refuse_while_deploying()
        async with self.site.deploying:
            try:
                await slot.replace(slot.release)
            except StartFailed as failure:
                slot.report_failure(failure)
                raise
        if slot.current is None:
            return f"{name} sleeps: the next request starts it, with the code as it is then"
        return f"{name} is {slot.current.name} now (pid {slot.current.pid})"

    async def _prepare_handover(self) -> str:
        self._refuse_while_deploying()
        async with self.site.deploying:
            await handover.prepare(self.site, self._load)
        return "The launcher starts anew"

    async def _publish(self) -> None:
        """Let nginx know which apps are not Shiny's, now that one is awake; each deploy does so anyhow."""
        if not self.site.deploying.locked():
            await publish(self.site, self._configure, self.site.settings)

    def _keep_slot(self, slot: Slot) -> None:
        self._keep(slot.keep_filled)

    def _keep_scaled(self) -> None:
        """Let each app have as many workers as it needs, those that are new, too."""
        for app_name in self.site.settings.apps.keys() - self._scaled:
            self._scaled.add(app_name)
            self._keep(Scaler(self.site, app_name, self._keep_slot).run)

    def _refuse_while_deploying(self) -> None:
        if self.site.deploying.locked():
            raise StickyError("A deploy is under way already.")

    # --- serving

    async def _serve(self, services: Collection[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Start everything, and keep it."""
        site = self.site
        await start_workers(site, self._sleep)
        if not_shiny := site.not_shiny():
            await asyncio.to_thread(self._configure, site.settings, True, not_shiny)
        site.remove_unused_links()
        site.clear_cache()
        if site.front is not None:
            await start_or_adopt(site.front, self._output)
        try:
            async with asyncio.TaskGroup() as self._keepers:
                for orphan in self.site.orphans:
                    self._keep(functools.partial(self._drain_orphan, orphan))
                for slot in site.slots.values():
                    self._keep_slot(slot)
                self._sleep.follow_settings()
                self._keep_scaled()
                self._rooms.follow_settings()
                if site.front is not None:
                    self._keep(functools.partial(restart_on_exit, site.front, self._output))
                self._keep(functools.partial(rotate_logs, site))
                for service in services:
                    self._keep(service)
                print_summary(site)
                self._service_manager.ready()
        finally:
            self._keepers = None

    def _keep(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a long-lived task until the launcher stops."""
        if self._keepers is not None:
            self._keepers.create_task(self._guarded(task))

    async def _guarded(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a long-lived task; if it fails, that is said, and it goes on: nothing else must end for it."""
        backoff = processes.Backoff()
        while True:
            began = time.monotonic()
            try:
                return await task()
            except Exception as error:
                self._print_traceback(error)
                delay = backoff.delay(time.monotonic() - began) or backoff.FIRST
                self._output.problem(f"The launcher goes on, and tries this again in {delay:g} s.")
                await asyncio.sleep(delay)

    def _print_traceback(self, error: BaseException) -> None:
        for line in "".join(traceback.format_exception(error)).splitlines():
            self._output.event(line, style="")

    async def _drain_orphan(self, orphan: OrphanProcess) -> None:
        """Let a process of an earlier launcher go, now that new ones serve under the workers' names."""
        if orphan.is_worker:
            self._output.event(f"{orphan.name} (pid {orphan.pid}) of an earlier launcher may leave")
        if text := self.site.announcement.text:  # the earlier one may have ended before it could say so
            orphan.tell(Announce(text))
        await orphan.leave(self.site.settings.deploy.drain_timeout)
        self.site.orphans.remove(orphan)
        if orphan.is_worker:
            self._output.event(f"{orphan.name} (pid {orphan.pid}) has left")

    # --- the end

    async def _make_way(self) -> None:
        """Leave everything to the next launcher, and do not return; unless it is to be stopped, too."""
        await self._cancel_operations()
        self._output.flush()
        handover.hold_signals()
        for _ in range(3):  # those that came before are read from a pipe, handed on, and handled
            await asyncio.sleep(0)
        if not self._stop.made.is_set():
            self._last_act()
        handover.take_held_signals()

    async def _cancel_operations(self) -> None:
        for operation in self._operations:
            operation.cancel()
        await asyncio.gather(*self._operations, return_exceptions=True)

    async def _stop_all(self, keep_earlier: bool = False) -> None:
        """Stop nginx and all processes: in order, or at once after a second signal.

        Args:
            keep_earlier: do not stop nginx and the workers that an earlier launcher had left running.
        """
        site = self.site
        await self._cancel_operations()
        self._service_manager.stopping()
        running = self._running(keep_earlier)
        asked = self._stop.drain_timeout
        timeout = site.settings.stop.drain_timeout if asked is None else asked
        if timeout and self._stop.made.is_set():
            site.tell_all(Stopping(float(timeout)))
        await stop_all(running, timeout, self._stop.at_once)
        for slot in site.slots.values():
            slot.stop_waiting()
        site.groups.close()
        if not keep_earlier:
            site.run_dir.remove_links()
            site.run_dir.remove_notes()
            empty_shared_folders(site.run_dir)
        if self._stop.made.is_set():
            self._output.event("Stopped")

    def _running(self, keep_earlier: bool) -> list[Stoppable]:
        """What is to be stopped; see :meth:`_stop_all`."""
        site = self.site
        running: list[Stoppable] = [*site.releases, *(one for slot in site.all_slots for one in slot.alive)]
        if not keep_earlier:
            running += site.orphans
            if site.front is not None and site.front.pid:
                running.append(site.front)
        return running
