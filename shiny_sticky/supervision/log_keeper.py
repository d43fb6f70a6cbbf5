"""Has the logs rotated that others write: nginx, and workers without a launcher. site.log's writer sees to that."""

from __future__ import annotations

import asyncio

from shiny_sticky.front.nginx_process import Front
from shiny_sticky.log_rotation import copy_grown, rotate_grown
from shiny_sticky.site_log import WORKERS_LOG
from shiny_sticky.supervision.rundir import NGINX_LOGS
from shiny_sticky.supervision.site import Site

# Seconds between two looks: nothing tells how large a file has grown.
LOOK_SECONDS = 5


async def rotate_logs(site: Site) -> None:
    """Rotate logs whenever they have grown; does not return."""
    told = ""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await asyncio.to_thread(rotate_workers_log, site)
            if site.front is not None:
                rotate_nginx_logs(site, site.front)
            told = ""
        except OSError as error:  # said once
            if told != (problem := f"The logs in {site.run_dir.path} cannot be rotated: {error.strerror}"):
                site.output.problem(problem)
            told = problem


def rotate_workers_log(site: Site) -> None:
    """Rotate what workers without a launcher print.

    Raises:
        OSError: a file cannot be made or renamed.
    """
    limits = site.settings.log
    copy_grown(site.run_dir.path / WORKERS_LOG, limits.max_size, limits.keep)


def rotate_nginx_logs(site: Site, front: Front) -> None:
    """Rotate nginx's, unless they are to be left alone.

    Raises:
        OSError: a file cannot be made or renamed.
    """
    limits = site.settings.nginx.log
    if rotate_grown([site.run_dir.path / name for name in NGINX_LOGS], limits.max_size, limits.keep):
        front.reopen_logs()
