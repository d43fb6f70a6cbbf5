"""A site whose launcher is root's, and whose nginx and workers are somebody else's, who has no rights beyond."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Callable

import pytest

from support.copies import copy_packages, copy_project
from support.real_site import ECHO, Site

USER = "nobody"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as somebody else")


def uid() -> int:
    """The number of the user that the workers run as."""
    return pwd.getpwnam(USER).pw_uid


def open_site(site_of, **settings) -> Site:
    """A site in which every user finds all that workers need."""
    app = {"target": "app.py", "workers": 2, "python": "/usr/bin/python3", "env": {"PYTHONPATH": "packages"}}
    site = site_of({"app": app}, **settings)
    shutil.copy(ECHO, site.folder / "app.py")
    copy_packages(site.folder / "packages", "uvicorn")
    site.folder.chmod(0o755)
    return site


def hostile_site(site_of, code: str, workers: int = 1, **settings) -> Site:
    """A site of another user's, whose app does what it pleases; not started.

    Args:
        site_of: the fixture.
        code: what the app does at import, behind an echo's code.
        workers: of the app.
        settings: of the site.
    """
    site = open_site(site_of, user=USER, **settings)
    site.settings["apps"]["app"]["workers"] = workers
    site.write()
    with (site.folder / "app.py").open("a") as app:
        app.write(code)
    return site


def told_to_other_user(ask: Callable[[], object]) -> str:
    """What the other user is told who asks for something: the text of the error. In a process of its own."""
    "".encode("idna")  # Python looks for that in files which the other user may not read
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(pwd.getpwnam(USER).pw_gid)
            os.setuid(uid())
            ask()
        except Exception as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def program(site: Site) -> list[str]:
    """The launcher in a place that the other user may read, to start the site with."""
    launcher = site.folder / "project" / "launcher.py"
    return [sys.executable, str(launcher if launcher.exists() else copy_project(launcher.parent))]
