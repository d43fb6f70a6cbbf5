"""nginx's processes that serve."""

import os

import psutil

from support.real_site import Site
from support.waiting import until


def nginx_workers(site: Site) -> set[psutil.Process]:
    """All of them, as soon as there are as many as nginx makes by itself: one per processor.

    Its port is open before they are forked, and for a moment a child has its master's title. The two that look
    after the cache come and go, and are not counted.
    """

    def found() -> set[psutil.Process] | None:
        children = psutil.Process(site.nginx_pid()).children()
        serving = {child for child in children if "worker process" in " ".join(child.cmdline())}
        return serving if len(serving) == os.cpu_count() else None

    return until(found, "nginx has all its processes")
