"""Which word of the command line is what: a command, an app, a settings file."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from shiny_sticky.command_help import Command, write_examples

SETTINGS_ENDINGS = (".yaml", ".yml")

# Options of the program itself; all others that stand first are those of `run`.
OWN_OPTIONS = ("--help", "-h", "--version")


def is_settings_file(word: str) -> bool:
    """Whether a word names a settings file."""
    return word.endswith(SETTINGS_ENDINGS)


def is_app(word: str) -> bool:
    """Whether a word names an app: app.py, app.py:attribute, module:attribute."""
    return word.endswith(".py") or ":" in word


class Commands(click.Group):
    """The program's commands. `run` need not be said."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what stands below the commands."""
        write_examples(None, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before what it is to serve, and before its options."""
        first = args[0] if args else "-"
        if (first.startswith("-") and first not in OWN_OPTIONS) or is_settings_file(first) or is_app(first):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; say which one may have been meant.

        Raises:
            click.UsageError: there is none of that name.
        """
        word = args[0]
        if self.get_command(ctx, word) is None:
            close = difflib.get_close_matches(word, self.list_commands(ctx), n=1)
            meant = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(self.list_commands(ctx))}."
            raise click.UsageError(
                f"There is no command {word}. {meant} An app is app.py or module:app, a settings file .yaml.",
                ctx,
            )
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were written down."""
        return list(self.commands)


class SettingsFile(click.ParamType):  # type: ignore[type-arg]
    """A settings file's name."""

    name = "config.yaml"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Take a name that ends in .yaml or .yml."""
        if not is_settings_file(str(value)):
            self.fail(f"{value} is no settings file: those end in .yaml.", param, ctx)
        return Path(value)


class Target(click.ParamType):  # type: ignore[type-arg]
    """What to serve: an app or a settings file."""

    name = "app.py | module:app | config.yaml"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take what is one of these by its form."""
        if not is_settings_file(value) and not is_app(value):
            self.fail(f"{value} is neither an app (app.py, module:app) nor a settings file (.yaml).", param, ctx)
        return value
