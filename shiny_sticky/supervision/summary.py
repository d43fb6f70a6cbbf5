"""What the launcher prints once everything serves."""

from __future__ import annotations

import ipaddress
import os
import socket

from shiny_sticky import processes, program, terminal
from shiny_sticky.settings.model import Settings
from shiny_sticky.supervision.site import Site

# With room for fewer sessions than this, the start prints a warning.
MANY_SESSIONS = 2000

# Every address of this machine, as settings name that; and one of elsewhere, of those that are for documents only.
EVERYWHERE = {"*": "192.0.2.1", "0.0.0.0": "192.0.2.1", "[::]": "2001:db8::1"}


def print_summary(site: Site) -> None:
    """Say where the apps are, show the workers, and say what is not as it should be."""
    output, settings = site.output, site.settings
    say_where(site)
    if site.front is None:
        output.event(f'nginx is yours to start: nginx -p "$PWD" -c {settings.nginx.conf}')
    rows = [
        [slot.name, str(slot.current.pid), str(site.run_dir.path / f"{slot.name}.sock")]
        for slot in site.slots.values()
        if slot.current is not None
    ]
    if site.front is not None:
        rows.append(["nginx", str(site.front.pid), ", ".join(settings.listen)])
    output.table(["worker", "pid", "socket"], rows)
    if said := site.announcement.text:
        output.event(f'All pages show "{said}"; to take that away: {program.name()} say --clear')
    for warning in warnings(site):
        output.warning(warning)
    if terminal.is_used():
        output.event("Press Ctrl-C to stop.")


def say_where(site: Site) -> None:
    """Say where the apps are, and which of them sleep."""
    network = network_url(site.settings)
    for app_name, app in site.settings.apps.items():
        elsewhere = f", from other machines at {network}{app.path}" if network else ""
        site.output.event(f"{app_name} is at {site.settings.base_url()}{app.path}{elsewhere}")
    if asleep := [app_name for app_name in site.settings.apps if site.sleeps(app_name)]:
        site.output.event(f"Asleep until a request comes: {', '.join(asleep)}")


def network_url(settings: Settings) -> str:
    """The URL by which other machines reach the apps, whose paths follow; empty if they cannot."""
    for address in settings.listen:
        host, _, port = address.rpartition(":")
        if host in EVERYWHERE:
            here = own_address(EVERYWHERE[host])
            return f"http://{here}" + ("" if port == "80" else f":{port}") if here else ""
    return ""


def own_address(far: str) -> str:
    """The address with which this machine would reach a far one, as URLs have it; empty if it could not.

    Args:
        far: an IP address. Nothing is sent there.
    """
    version = ipaddress.ip_address(far).version
    try:
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            own: str = probe.getsockname()[0]
    except OSError:
        return ""
    return own if version == 4 else f"[{own}]"


def warnings(site: Site) -> list[str]:
    """What the person who starts a site should know of it; what matters most comes last."""
    found = [too_few_files(site.settings)]
    if os.geteuid() == 0 and not site.run_dir.owner.switches:
        found.append("nginx and the workers run as root. Set `user` to run them as somebody else.")
    return [warning for warning in found if warning]


def too_few_files(settings: Settings) -> str:
    """What to say if the limit on open files stands in the way of many sessions; empty if it does not."""
    limit = processes.open_files_limit()
    # nginx may have half of its open files as connections, and a session takes two of these.
    sessions = (os.cpu_count() or 1) * limit // 4
    wanted = max(MANY_SESSIONS, sum((app.max_sessions or 0) * app.workers.max for app in settings.apps.values()))
    if sessions >= wanted:
        return ""
    return (
        f"Each process may open {limit} files only (ulimit -Hn): enough for about {sessions} sessions. "
        f"For more: ulimit -n {processes.OPEN_FILES} as root before the start, or LimitNOFILE= in the service."
    )
