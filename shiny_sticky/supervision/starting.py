"""The start of a site's workers: all side by side, but for those of apps that sleep until somebody comes."""

from __future__ import annotations

import time

from shiny_sticky.concurrency import in_parallel
from shiny_sticky.supervision.site import Site
from shiny_sticky.supervision.sleeping import SleepCycles
from shiny_sticky.supervision.slot import Slot


async def start_workers(site: Site, sleep: SleepCycles) -> None:
    """Fill all slots, and let those sleep whose app may.

    Args:
        site: has no slots yet.
        sleep: has the apps that sleep.

    Raises:
        StartFailed: a worker did not come up; its app is named.
    """
    began = time.monotonic()
    to_fill = make_slots(site, sleep)
    total, ready = len(to_fill), 0
    if not total:
        return
    apps = ", ".join(dict.fromkeys(slot.release.app_name for slot in to_fill))
    with site.output.progress(f"Starting {total} worker{'s' * (total > 1)} of {apps}") as progress:

        async def fill(slot: Slot) -> None:
            nonlocal ready
            await slot.fill()
            ready += 1
            progress.update(f"{ready} of {total} workers ready")

        await in_parallel(fill(slot) for slot in to_fill)
    site.output.event(f"{total} of {total} workers ready after {time.monotonic() - began:.1f} s")


def make_slots(site: Site, sleep: SleepCycles) -> list[Slot]:
    """Make all slots. Apps that may sleep do so, unless workers of an earlier launcher show that they are in use.

    Returns:
        The slots that are to be filled.
    """
    to_fill = []
    for name, release in site.new_releases(site.settings).items():
        slot = site.slots[name] = site.new_slot(name, release)
        if release.app.idle_timeout is None or site.has_orphans(release.app_name):
            to_fill.append(slot)
        else:
            sleep.put_to_sleep(slot)
    return to_fill
