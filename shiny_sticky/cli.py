"""The command line: ``launcher.py [options] config.yaml``, and the commands beside it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from shiny_sticky import __version__, processes
from shiny_sticky.client import browse
from shiny_sticky.errors import SettingsError, StartFailed, StickyError
from shiny_sticky.foreign_folders import who_may_change
from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.front.nginx_process import Front, check_ports
from shiny_sticky.output import Output
from shiny_sticky.settings import names
from shiny_sticky.settings import read as settings
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.users import Owner, check_place, check_reach, owner_of
from shiny_sticky.supervision import control
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.site import Site
from shiny_sticky.supervision.status import table
from shiny_sticky.supervision.supervisor import Supervisor

COMMANDS = ("run", "browse", "reload", "restart", "status")


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        arguments: without the program's name; default: the process's.

    Returns:
        The exit code: 0, 1 for the environment, 2 for the settings or the command line.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if not given or (given[0] not in COMMANDS and given[0] not in ("-h", "--help", "--version")):
        given = ["run", *given]
    options = _parser().parse_args(given)
    try:
        options.do(options)
    except StickyError as error:
        if isinstance(error, StartFailed) and error.traceback:
            print(error.traceback.rstrip(), file=sys.stderr)
        print(_with_file(error, options), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _with_file(error: StickyError, options: argparse.Namespace) -> str:
    """The error's text; mistakes in the settings name the file, also where they were found after reading it."""
    if isinstance(error, SettingsError):
        lines = [line if line.startswith("/") else f"{options.config}: {line}" for line in error.mistakes]
        return "\n".join(lines)
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launcher.py",
        description="Serve Shiny apps on sticky workers behind nginx. "
        "Without a command: launcher.py [run options] [config.yaml]",
    )
    parser.add_argument("--version", action="version", version=f"shiny-sticky {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    run = commands.add_parser("run", help="serve (the default)", description="Serve what config.yaml says.")
    what = run.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="validate and let nginx check it; start nothing")
    what.add_argument(
        "--snippet", action="store_true", help="print what belongs into the http {} of an nginx of your own"
    )
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of the settings")
    what.add_argument("--no-nginx", action="store_true", help="write nginx's configuration, but do not start it")
    run.set_defaults(do=_run)

    tabs = commands.add_parser("browse", help="open tabs of an app", description="Open tabs of an app.")
    tabs.add_argument("-n", type=int, default=1, metavar="TABS", help="how many (default: 1)")
    tabs.add_argument("--app", help="which app, by its name (default: the first)")
    tabs.set_defaults(do=_browse)

    reload = commands.add_parser(
        "reload",
        help="read config.yaml again and replace all workers by new ones, sessions kept",
        description="Deploy: read config.yaml again and replace all workers, without dropping a session.",
    )
    reload.set_defaults(do=_reload)

    restart = commands.add_parser(
        "restart",
        help="start the launcher anew, or one worker; sessions kept",
        description="Start the launcher anew, with its code and settings as they are now, or one worker.",
    )
    restart.add_argument("worker", nargs="?", help="its name, such as app2 (default: the launcher)")
    restart.set_defaults(do=_restart)

    status = commands.add_parser("status", help="show the workers", description="Show what runs.")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(do=_status)

    for command in (run, tabs, reload, restart, status):
        command.add_argument(
            "config", type=Path, nargs="?", default=Path("config.yaml"), help="default: config.yaml"
        )
    return parser


def _browse(options: argparse.Namespace) -> None:
    browse.open_tabs(settings.load(options.config), options.app, options.n)


def _run(options: argparse.Namespace) -> None:
    if options.schema:
        print(json.dumps(Settings.model_json_schema(), indent=2))
        return
    chosen = settings.load(options.config)
    program = nginx_program.find(chosen.nginx.binary)
    if options.snippet:
        print(configuration.render(chosen, program, options.config.absolute(), snippet=True), end="")
    elif options.check:
        _check(chosen, program, options.config.absolute())
        print(f"{options.config}: good")
    else:
        asyncio.run(_serve(chosen, program, options))


def _check(chosen: Settings, program: nginx_program.Nginx, source: Path) -> None:
    """Let nginx check the configuration in a folder of its own: run_dir may be in use."""
    _check_places(chosen, owner_of(chosen), source.parent)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tmp").mkdir()
        nginx = chosen.nginx.model_copy(update={"conf": Path(folder, "sticky.conf")})
        there = chosen.model_copy(update={"run_dir": Path(folder), "nginx": nginx})
        configuration.check(there, configuration.render(there, program, source), program)


def _check_places(chosen: Settings, owner: Owner, folder: Path) -> None:
    """See to it that the workers' user can reach what they need, and not what is root's to write.

    Raises:
        StickyError: with what to change.
    """
    check_reach(chosen, owner, folder)
    check_place("run_dir", chosen.run_dir, owner)
    check_place("nginx.conf", chosen.nginx.conf, owner)


async def _serve(chosen: Settings, program: nginx_program.Nginx, options: argparse.Namespace) -> None:
    processes.raise_open_files()
    workers = [name for app, its in chosen.apps.items() for name in names.worker_names(app, its.workers)]
    output = Output(workers, never_waits=True)
    source = options.config.absolute()
    owner = owner_of(chosen)
    _check_places(chosen, owner, source.parent)
    if owner.switches and (why := who_may_change(source / "its content", owner.gid)):
        output.problem(f"Whoever may change {source} decides what root runs, and {why}.")
    run_dir = RunDir(chosen.run_dir, owner)
    run_dir.prepare()
    run_dir.lock()
    front = Front(program, chosen.nginx.conf, run_dir.path, lambda line: output.relay("nginx", line))
    front.adopt_running()
    managed = chosen.nginx.managed and not options.no_nginx

    def load() -> Settings:
        again = settings.load(source)
        _check_places(again, owner, source.parent)
        return again

    def configure(settings: Settings, write: bool) -> bool:
        text = configuration.render(settings, program, source)
        if write:
            return configuration.install(settings, text, program)
        configuration.check(settings, text, program)
        return False

    try:
        if managed:
            check_ports(chosen.listen, ours=front.members())
        configure(chosen, True)
        site = Site(chosen, source.parent, run_dir, front if managed else None, output)
        supervisor = Supervisor(site, load=load, configure=configure, source=source)
        with control.listen(run_dir.path) as listener:
            await supervisor.run(control_server=lambda: control.serve(supervisor, listener))
    finally:
        front.clean()
        control.clean(run_dir.path)
        run_dir.unlock()
        output.flush()


def _reload(options: argparse.Namespace) -> None:
    print(control.call(settings.load(options.config).run_dir, "POST", "/reload")["done"])


def _restart(options: argparse.Namespace) -> None:
    if options.worker and not names.WORKER.fullmatch(options.worker):  # then it is the settings file
        options.worker, options.config = None, Path(options.worker)
    run_dir = settings.load(options.config).run_dir
    if options.worker:
        print(control.call(run_dir, "POST", f"/restart/{options.worker}")["done"])
    else:
        print(control.restart_launcher(run_dir))


def _status(options: argparse.Namespace) -> None:
    status = control.call(settings.load(options.config).run_dir, "GET", "/status")
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        columns, rows = table(status)
        Output([]).table(columns, rows)
