"""What the launcher prints once everything serves."""

from __future__ import annotations

import os

from shiny_sticky import processes
from shiny_sticky.settings.model import Settings
from shiny_sticky.supervision.site import Site

# With room for fewer sessions than this, the start prints a warning.
MANY_SESSIONS = 2000


def print_summary(site: Site) -> None:
    """Say where the apps are, what is not as it should be, and show the workers."""
    output, settings = site.output, site.settings
    for app_name, app in settings.apps.items():
        output.event(f"{app_name} is at {settings.base_url()}{app.path}")
    if site.front is None:
        output.event(f'nginx is yours to start: nginx -p "$PWD" -c {settings.nginx.conf}')
    if asleep := [app_name for app_name in settings.apps if site.sleeps(app_name)]:
        output.event(f"Asleep until a request comes: {', '.join(asleep)}")
    for warning in warnings(site):
        output.problem(warning)
    rows = [
        [slot.name, str(slot.current.pid), str(site.run_dir.path / f"{slot.name}.sock")]
        for slot in site.slots.values()
        if slot.current is not None
    ]
    if site.front is not None:
        rows.append(["nginx", str(site.front.pid), ", ".join(settings.listen)])
    output.table(["worker", "pid", "socket"], rows)


def warnings(site: Site) -> list[str]:
    """What the person who starts a site should know of it."""
    found = [too_few_files(site.settings)]
    if os.geteuid() == 0 and not site.run_dir.owner.switches:
        found.append("nginx and the workers run as root. Set `user` to run them as somebody else.")
    return [warning for warning in found if warning]


def too_few_files(settings: Settings) -> str:
    """What to say if the limit on open files stands in the way of many sessions; empty if it does not."""
    limit = processes.open_files_limit()
    # nginx may have half of its open files as connections, and a session takes two of these.
    sessions = (os.cpu_count() or 1) * limit // 4
    wanted = max(MANY_SESSIONS, sum((app.max_sessions or 0) * app.workers for app in settings.apps.values()))
    if sessions >= wanted:
        return ""
    return (
        f"Each process may open {limit} files only (ulimit -Hn): enough for about {sessions} sessions. "
        f"For more: ulimit -n {processes.OPEN_FILES} as root before the start, or LimitNOFILE= in the service."
    )
