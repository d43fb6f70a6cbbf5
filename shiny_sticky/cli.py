"""The command line: ``shiny-sticky app.py``, ``launcher.py config.yaml``, and the commands beside these."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from shiny_sticky import __version__, program
from shiny_sticky.client import browse as tabs
from shiny_sticky.client import logs as site_logs
from shiny_sticky.client_commands import verify
from shiny_sticky.command_words import Commands, SettingsFile, Target, is_settings_file
from shiny_sticky.errors import SettingsError, StartFailed, StickyError
from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.load_commands import load
from shiny_sticky.output import Output
from shiny_sticky.settings import interpreter, template
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.source import (
    APP_FILE,
    SETTINGS_FILE,
    AppOptions,
    Source,
    app_source,
    default_target,
    file_source,
    run_dir_of,
)
from shiny_sticky.supervision import autoreload, control, launch, stop_command
from shiny_sticky.supervision.status import scaled, table, waiting

settings_file = click.argument("config", type=SettingsFile(), required=False)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        arguments: without the program's name; default: the process's.

    Returns:
        The exit code: 0, 1 for the environment, 2 for the settings or the command line; `verify` has its own.
    """
    try:
        code = commands.main(arguments, prog_name=program.name(), standalone_mode=False)
    except click.UsageError as error:
        command = error.ctx.command_path.removeprefix(program.name()).strip() if error.ctx is not None else ""
        print(f"{error.format_message()}\nSee: {program.name()} help {command}".rstrip(), file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except StickyError as error:
        _show(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    return code if isinstance(code, int) else 0  # one of --help, --version, or of a command that has more to say


def _show(error: StickyError) -> None:
    if isinstance(error, StartFailed) and error.traceback:
        print(error.traceback.rstrip(), file=sys.stderr)
    print(error, file=sys.stderr)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="shiny-sticky %(version)s")
def commands() -> None:
    """Serve Shiny apps on sticky workers behind nginx."""


def _served(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of an app that is served without a settings file."""
    for option in reversed(
        [
            click.argument("target", type=Target(), required=False),
            click.option("-w", "--workers", type=int, help="Processes of the app. [default: 4]"),
            click.option("-p", "--port", type=int, help="Port that browsers come to. [default: 8080]"),
            click.option(
                "--host", help="Address that browsers come to; 0.0.0.0 is all. [default: 127.0.0.1, this machine]"
            ),
            click.option(
                "--python",
                metavar="PATH",
                help="Interpreter or virtual environment that serves the app. [default: the active one]",
            ),
        ]
    ):
        command = option(command)
    return command


@commands.command()
@_served
@click.option("--reload", is_flag=True, help="Deploy whenever a file of the app changes; open pages follow.")
@click.option("--no-nginx", is_flag=True, help="Write nginx's configuration, but do not start it.")
@click.option("--check", is_flag=True, help="Like the command check, but import no app.")
@click.option("--snippet", is_flag=True, help="Print what belongs into the http {} of an nginx of your own.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the settings file.")
def run(
    target: str | None, reload: bool, no_nginx: bool, check: bool, snippet: bool, schema: bool, **options: Any
) -> None:
    """Serve an app, or what a settings file says. The command may be left out."""
    if schema:
        click.echo(json.dumps(Settings.model_json_schema(), indent=2))
        return
    source = _source(target, options)
    if snippet:
        chosen = source.load()
        nginx = nginx_program.find(chosen.nginx.binary)
        click.echo(configuration.render(chosen, nginx, source.notice, snippet=True), nl=False)
    elif check:
        _check(source, imports=False)
    else:
        with _naming(source):
            _serve(source, managed=not no_nginx, reload=reload)


def _serve(source: Source, *, managed: bool, reload: bool) -> None:
    """Serve until a signal says to stop. Who writes an app may begin with one that does not import yet."""
    while True:
        try:
            return asyncio.run(launch.serve(source, managed=managed, reload=reload))
        except StartFailed as failure:
            if not reload:
                raise
            _show(failure)
            click.echo("It is tried again when a file of the app changes; Ctrl-C ends this.", err=True)
            click.echo(autoreload.wait_for_change(source))


@commands.command()
@_served
def check(target: str | None, **options: Any) -> None:
    """Say what is wrong, and serve nothing.

    Reads the settings, lets nginx read its configuration, tries the ports, and imports each app.
    """
    _check(_source(target, options), imports=True)


@commands.command()
@settings_file
def reload(config: Path | None) -> None:
    """Deploy: new code and settings, sessions kept."""
    click.echo(_ask(config, "POST", "/reload")["done"])


@commands.command()
@click.argument("worker", required=False)
@settings_file
def restart(worker: str | None, config: Path | None) -> None:
    """Replace the launcher, or one worker; sessions kept.

    A new launcher has the code and settings as they are now, and so have its workers.
    """
    worker, config = _worker_and_file(worker, config)
    if worker is None:
        click.echo(control.restart_launcher(run_dir_of(config, Path.cwd())))
    else:
        click.echo(_ask(config, "POST", f"/restart/{worker}")["done"])


@commands.command()
@click.option("--clear", is_flag=True, help="Take the last text away, as an empty one does.")
@click.argument("words", metavar="TEXT [CONFIG]", nargs=-1)
def say(words: tuple[str, ...], clear: bool) -> None:
    """Have all open pages show a text, and those that are opened later.

    It stands until it is taken away or replaced, also after a new start.
    """
    named = bool(words) and is_settings_file(words[-1]) and (clear or len(words) > 1)
    config = Path(words[-1]) if named else None
    words = words[:-1] if named else words
    if clear == bool(words):
        raise click.UsageError('Say a text, or --clear: say "Back at 5 pm"')
    click.echo(_ask(config, "POST", f"/say/{' '.join(words)}")["done"])


@commands.command()
@settings_file
def stop(config: Path | None) -> None:
    """Stop nginx, the workers and the launcher.

    Open sessions get stop.drain_timeout.
    """
    asyncio.run(stop_command.stop(run_dir_of(config, Path.cwd()), Output([])))


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@settings_file
def status(as_json: bool, config: Path | None) -> None:
    """Show the workers and their sessions."""
    found = _ask(config, "GET", "/status")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        Output([]).table(*table(found))
        for line in [*scaled(found), *waiting(found)]:
            click.echo(line)


@commands.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on; Ctrl-C ends that.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many to begin with."
)
@click.argument("worker", required=False)
@settings_file
def logs(follow: bool, lines: int, worker: str | None, config: Path | None) -> None:
    """Show what a site has printed.

    That is what the launcher and all workers have; or one worker, or the workers of one app.
    """
    worker, config = _worker_and_file(worker, config)
    site_logs.show(run_dir_of(config, Path.cwd()), worker, lines, follow)


@commands.command()
@click.option("-n", "number", type=int, default=1, show_default=True, metavar="TABS", help="How many.")
@click.option("--app", metavar="NAME", help="Which app, by its name. [default: the first]")
@settings_file
def browse(number: int, app: str | None, config: Path | None) -> None:
    """Open tabs of an app in the browser."""
    tabs.open_tabs(_source(str(config) if config else None, {}).load(), app, number)


commands.add_command(verify)


@commands.command()
@_served
def init(target: str | None, **options: Any) -> None:
    """Write config.yaml, with every setting.

    The options are those of run, and what they say is in the file.
    """
    if SETTINGS_FILE.exists():
        raise StickyError(
            f"There is a {SETTINGS_FILE} already; it is left as it is. Serve it: {program.name()} {SETTINGS_FILE}"
        )
    if target is not None and is_settings_file(target):
        raise click.UsageError(f"Name the app; the settings file is written to {SETTINGS_FILE}.")
    chosen = AppOptions(target or str(APP_FILE), **options)
    app_source(chosen, Path.cwd()).load()
    SETTINGS_FILE.write_text(template.text(chosen.values()), encoding="utf-8")
    click.echo(f"{SETTINGS_FILE} is written. Serve it: {program.name()} {SETTINGS_FILE}")


commands.add_command(load)


@commands.command("help")
@click.argument("command", nargs=-1)
@click.pass_context
def show_help(ctx: click.Context, command: tuple[str, ...]) -> None:
    """Show the help of a command."""
    assert ctx.parent is not None
    shown: click.Command = commands
    its = ctx.parent
    for word in command:
        if not isinstance(shown, click.Group):
            raise click.UsageError(f"{shown.name} has no commands of its own.")
        _, found, _ = shown.resolve_command(its, [word])
        assert found is not None
        shown, its = found, click.Context(found, info_name=word, parent=its)
    click.echo(shown.get_help(its))


def _worker_and_file(worker: str | None, config: Path | None) -> tuple[str | None, Path | None]:
    """Tell the two words of a command apart, of which each may be left out."""
    if worker is not None and is_settings_file(worker):
        return None, Path(worker)
    return worker, config


def _source(target: str | None, options: dict[str, Any]) -> Source:
    """Where the settings are that were asked for."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    target = target or (str(APP_FILE) if given else default_target(Path.cwd()))
    if not is_settings_file(target):
        python = options.get("python") or interpreter.active()
        return app_source(AppOptions(target, **{**options, "python": python}), Path.cwd())
    if given:
        names = ", ".join(given)
        raise click.UsageError(f"{names}: say that in {target}; options are for an app without a settings file.")
    return file_source(Path(target))


@contextlib.contextmanager
def _naming(source: Source) -> Iterator[None]:
    """Let mistakes in the settings that are found after reading them name where these come from, as others do."""
    try:
        yield
    except SettingsError as error:
        named = [line if line.startswith("/") else f"{source.name}: {line}" for line in error.mistakes]
        raise SettingsError(named) from None


def _check(source: Source, *, imports: bool) -> None:
    with _naming(source):
        asyncio.run(launch.check(source, imports=imports))
    click.echo(f"{source.name}: good")


def _ask(config: Path | None, method: str, path: str) -> dict[str, Any]:
    """Ask the running launcher."""
    return control.call(run_dir_of(config, Path.cwd()), method, path)
