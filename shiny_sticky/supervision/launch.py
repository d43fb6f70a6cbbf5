"""A site from its settings: served until a signal says to stop, or checked without serving it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection
from pathlib import Path

from shiny_sticky import processes, site_log
from shiny_sticky.concurrency import in_parallel
from shiny_sticky.errors import StickyError
from shiny_sticky.foreign_folders import who_may_change
from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.front.nginx_process import Front, check_ports
from shiny_sticky.front.nginx_program import Nginx
from shiny_sticky.output import Output
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.names import worker_names
from shiny_sticky.settings.source import Source
from shiny_sticky.settings.users import Owner, check_place, check_reach, owner_of
from shiny_sticky.site_log import SiteLog
from shiny_sticky.supervision import autoreload, control
from shiny_sticky.supervision.release import Release
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.site import Configure, Site
from shiny_sticky.supervision.supervisor import Supervisor


async def serve(source: Source, *, managed: bool, reload: bool = False) -> None:
    """Serve a site until a signal says to stop.

    Args:
        source: of its settings.
        managed: whether to run nginx, as far as the settings agree.
        reload: whether to deploy whenever a file of the apps changes, and let open pages follow.

    Raises:
        StickyError: it cannot be served; nothing that was started is left running.
    """
    if reload:
        source = autoreload.hasty(source)
    chosen = source.load()
    program = nginx_program.find(chosen.nginx.binary)
    processes.raise_open_files()
    output = _output(chosen, never_waits=True)
    owner = owner_of(chosen)
    _check_places(chosen, owner, source)
    _warn_of_writers(source, owner, output)
    run_dir = RunDir(chosen.run_dir, owner)
    run_dir.prepare()
    run_dir.lock()
    log_file = run_dir.path / site_log.NAME
    output.log = log = SiteLog(log_file, chosen.log.max_size, chosen.log.keep, report=output.print_only)
    front = Front(program, chosen.nginx.conf, run_dir.path, lambda line: output.relay("nginx", line))
    front.adopt_running()
    managed = managed and chosen.nginx.managed

    def load() -> Settings:
        again = source.load()
        _check_places(again, owner, source)
        return again

    configure = _configuring(source, program)

    try:
        if managed:
            check_ports(chosen.listen, ours=front.members())
        configure(chosen, True, ())
        site = Site(chosen, source.folder, run_dir, front if managed else None, output, pages_follow=reload)
        supervisor = Supervisor(site, load=load, configure=configure)
        with control.listen(run_dir.path) as listener:
            services = [lambda: control.serve(supervisor, listener)]
            if reload:
                services.append(lambda: autoreload.deploy_at_changes(supervisor, source))
            await supervisor.run(services)
    except StickyError as error:  # whoever called shows it
        log.write(f"{getattr(error, 'traceback', '')}\n{error}".strip(), is_error=True)
        raise
    finally:
        front.clean()
        control.clean(run_dir.path)
        run_dir.unlock()
        output.flush()


def _configuring(source: Source, program: Nginx) -> Configure:
    """What renders and tests nginx's configuration, one at a time: an app that wakes and a deploy may both ask."""
    lock = threading.Lock()

    def configure(settings: Settings, write: bool, not_shiny: Collection[str]) -> bool:
        text = configuration.render(settings, program, source.notice, not_shiny=not_shiny)
        with lock:
            if write:
                return configuration.install(settings, text, program)
            configuration.check(settings, text, program)
            return False

    return configure


def _warn_of_writers(source: Source, owner: Owner, output: Output) -> None:
    """Say who else may write the settings file of a root's launcher."""
    if not owner.switches or source.file is None:
        return
    if why := who_may_change(source.file / "its content", owner.gid):
        output.problem(f"Whoever may change {source.file} decides what root runs, and {why}.")


async def check(source: Source, *, imports: bool) -> None:
    """See whether a site can be served: settings, users, ports, nginx's configuration, and the import of each app.

    A site that runs from the same settings goes on.

    Args:
        source: of its settings.
        imports: whether to import the apps.

    Raises:
        StickyError: it cannot.
    """
    chosen = source.load()
    program = nginx_program.find(chosen.nginx.binary)
    _check_places(chosen, owner_of(chosen), source)
    if chosen.nginx.managed:
        running = Front(program, chosen.nginx.conf, chosen.run_dir, on_line=lambda _: None)
        running.adopt_running()
        check_ports(chosen.listen, ours=running.members())
    with tempfile.TemporaryDirectory() as folder:  # run_dir may be in use
        Path(folder, "tmp").mkdir()
        nginx = chosen.nginx.model_copy(update={"conf": Path(folder, "sticky.conf")})
        there = chosen.model_copy(update={"run_dir": Path(folder), "nginx": nginx})
        configuration.check(there, configuration.render(there, program, source.notice), program)
        if imports:
            await _import_apps(there, source.folder)


def _check_places(chosen: Settings, owner: Owner, source: Source) -> None:
    """See to it that the workers' user can reach what they need, and not what is root's to write.

    Raises:
        StickyError: with what to change.
    """
    check_reach(chosen, owner, source.folder)
    check_place("run_dir", chosen.run_dir, owner)
    check_place("nginx.conf", chosen.nginx.conf, owner)


async def _import_apps(settings: Settings, folder: Path) -> None:
    """Import every app once, in its own interpreter and as its own user.

    Raises:
        StartFailed: one cannot be imported; it is named.
    """
    output = _output(settings)
    run_dir = RunDir(settings.run_dir, owner_of(settings))
    run_dir.prepare()
    releases = [Release(name, settings, folder, run_dir, output) for name in settings.apps]
    try:
        await in_parallel(release.try_import() for release in releases)
    finally:
        for release in releases:
            release.drain()
        await in_parallel(release.wait() for release in releases)


def _output(settings: Settings, *, never_waits: bool = False) -> Output:
    workers = [name for app, its in settings.apps.items() for name in worker_names(app, its.workers.min)]
    return Output(workers, never_waits=never_waits)
