"""Starting a process of an app in the app's own interpreter, environment and folder."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shiny_sticky import resources
from shiny_sticky.errors import StartFailed
from shiny_sticky.foreign_folders import make
from shiny_sticky.settings import names
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.settings.users import Owner, environment_of
from shiny_sticky.supervision.channels import Channels
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.options import WorkerOptions


async def spawn(
    options: WorkerOptions,
    channels: Channels,
    app: AppSettings,
    folder: Path,
    owner: Owner,
    environment: Mapping[str, str],
) -> asyncio.subprocess.Process:
    """Start a worker, or a fork server.

    Args:
        options: what it is to do.
        channels: to connect it with.
        app: the settings of its app.
        folder: the settings file's.
        owner: whom it runs as.
        environment: variables beside the app's own.

    Raises:
        StartFailed: the interpreter cannot be run.
    """
    interpreter = str(app.python or sys.executable)
    try:
        return await asyncio.create_subprocess_exec(
            interpreter,
            str(resources.path("worker")),
            options.name,
            replace(options, descriptors=channels.descriptors).to_json(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=channels.stdout,
            stderr=channels.stderr,
            env={**environment_of(owner), **app.env, **environment},
            cwd=app.working_folder(folder),
            pass_fds=channels.descriptors.all(),
            # Ctrl-C is for the launcher, which ends its workers in order.
            start_new_session=True,
            user=owner.uid if owner.switches else None,
            group=owner.gid if owner.switches else None,
            extra_groups=[] if owner.switches else None,
        )
    except OSError as error:
        name = names.worker_of(options.name)
        raise StartFailed(f"{name} cannot be started with {interpreter}: {error.strerror}") from error


def findings_file(run_dir: RunDir, app: str) -> Path:
    """The file in which the fork server of an app remembers what it leaves to its forks.

    Args:
        run_dir: prepared.
        app: its name.

    Returns:
        A file in a folder to which nobody but the user of the workers comes, and which is made.

    Raises:
        OSError: the disk is full.
    """
    return make(make(run_dir.path / "imports", 0o711) / app, 0o700, run_dir.theirs) / "findings.json"
