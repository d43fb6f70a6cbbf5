"""Deploys whenever a file of the apps has changed, while these are being written: ``--reload``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection
from pathlib import Path

import watchfiles

from shiny_sticky import program
from shiny_sticky.errors import StickyError
from shiny_sticky.settings.model import DeploySettings, Settings
from shiny_sticky.settings.source import Source
from shiny_sticky.supervision.supervisor import Supervisor

# Files that apps are made of, as `shiny run --reload` takes them. Others may be data that the app itself writes.
ENDINGS = (".py", ".css", ".scss", ".js", ".htm", ".html", ".yml", ".yaml")

# How a deploy goes then: all workers at a time, and soon over, for pages that are open come back by themselves.
DEPLOY = DeploySettings(surge=256, drain_timeout=10)


class SourceFilter(watchfiles.DefaultFilter):
    """Lets changes of source files pass, but for those of installed packages.

    Args:
        run_dir: what is in it is no source.
    """

    ignore_dirs = (*watchfiles.DefaultFilter.ignore_dirs, "site-packages")

    def __init__(self, run_dir: Path) -> None:
        super().__init__(ignore_paths=[run_dir])

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        """Whether a change counts."""
        return path.endswith(ENDINGS) and super().__call__(change, path)


def hasty(source: Source) -> Source:
    """The same settings, but for how a deploy goes."""
    return dataclasses.replace(source, load=lambda: source.load().model_copy(update={"deploy": DEPLOY}))


def wait_for_change(source: Source) -> str:
    """Wait until a file of the apps changes.

    Args:
        source: of the settings, which can be read.

    Returns:
        What has changed, in a sentence.

    Raises:
        KeyboardInterrupt: by Ctrl-C.
        OSError: the folders cannot be watched.
    """
    settings = source.load()
    changes = watchfiles.watch(*_folders(source, settings), watch_filter=SourceFilter(settings.run_dir))
    return _told(sorted({path for _, path in next(changes)}))


async def deploy_at_changes(supervisor: Supervisor, source: Source) -> None:
    """Deploy at each change of a file, until cancelled. How a deploy went is said by the supervisor.

    Args:
        supervisor: who deploys.
        source: of the settings.
    """
    try:
        await _deploy_at_changes(supervisor, source)
    except OSError as error:
        supervisor.site.output.problem(
            f"--reload can watch no files: {error}. Deploy yourself after an edit: {program.name()} reload"
        )


async def _deploy_at_changes(supervisor: Supervisor, source: Source) -> None:
    """Do so.

    Raises:
        OSError: the folders cannot be watched; the system watches too many already, say.
    """
    site = supervisor.site
    while True:
        folders = _folders(source, site.settings)
        changes = watchfiles.awatch(*folders, watch_filter=SourceFilter(site.run_dir.path))
        async with contextlib.aclosing(changes):
            async for changed in changes:
                site.output.event(_told(sorted({path for _, path in changed})))
                async with site.deploying:  # one that somebody asked for may have read the file before
                    pass
                with contextlib.suppress(StickyError):
                    await supervisor.deploy()
                if _folders(source, site.settings) != folders:
                    break


def _folders(source: Source, settings: Settings) -> list[Path]:
    """Where the files of the apps are, and the settings file; none is below another."""
    found = {app.working_folder(source.folder) for app in settings.apps.values()}
    if source.file is not None:
        found.add(source.file.parent)
    return sorted(folder for folder in found if not found & set(folder.parents))


def _told(paths: Collection[str]) -> str:
    """What has changed, in a sentence."""
    first, *others = (os.path.relpath(path) for path in paths)
    more = f" and {len(others)} other file{'s' * (len(others) > 1)}" if others else ""
    return f"{first}{more} {'have' if others else 'has'} changed"
