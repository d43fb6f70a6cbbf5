"""What the help of each command has beside its options: examples, with the program as it was called."""

from __future__ import annotations

import click

from shiny_sticky import program

# By command, none for the program itself: what follows the program's name, and what that does.
EXAMPLES: dict[str | None, list[tuple[str, str]]] = {
    None: [
        ("app.py", "serve an app; no settings file is needed"),
        ("config.yaml", "serve what a settings file says"),
        ("", "config.yaml if it is there, else app.py"),
        ("help run", "the options of a command"),
    ],
    "run": [
        ("app.py", "at 127.0.0.1:8080, by four workers"),
        ("app.py -w 8 -p 80 --host 0.0.0.0", "by eight, for everybody"),
        ("app.py --reload", "each edit shows in the open page"),
        ("dashboard.main:app", "an object of a module"),
        ("--python venv app.py", "with a virtual environment's packages"),
        ("config.yaml", "what a settings file says"),
    ],
    "check": [("check app.py", "is everything there to serve it?"), ("check", "is config.yaml right?")],
    "reload": [("reload", "new code and settings"), ("reload lab.yaml", "of the site with that settings file")],
    "restart": [
        ("restart app2", "one worker, with the code that serves"),
        ("restart", "the launcher itself, after an upgrade of it"),
    ],
    "say": [
        ('say "Back at 5 pm"', "in a bar of all pages"),
        ("say --clear", "no more"),
    ],
    "stop": [("stop", "what runs from this folder"), ("stop lab.yaml", "the site with that settings file")],
    "status": [("status", "a table"), ("status --json | jq .workers", "for programs")],
    "logs": [
        ("logs", "the last 100 lines"),
        ("logs -f", "and what comes from now on"),
        ("logs -f app2", "of one worker"),
        ("logs -n 1000 app lab.yaml", "of an app, with that settings file"),
    ],
    "browse": [
        ("browse", "a tab"),
        ("browse -n 10 --app lab", "ten of one app"),
    ],
    "verify": [
        ("verify http://127.0.0.1:8080", "is it sticky?"),
        ("verify --patience 5m --yes https://apps.example/lab/", "elsewhere, and with a long silence"),
        ("verify --watch --for 2m http://127.0.0.1:8080", "what does a deploy lose meanwhile?"),
        ("verify --json http://127.0.0.1:8080 | jq .result", "for programs"),
    ],
    "init": [
        ("init app.py -w 8", "write config.yaml, then serve it"),
        ("init", "the same for app.py, with the defaults"),
    ],
    "load": [
        ("load record http://127.0.0.1:8080/", "do what a visitor does; close the page, and visit.jsonl has it"),
        ("load play visit.jsonl http://127.0.0.1:8080/ --users 50", "fifty at once"),
        ("load play visit.jsonl http://127.0.0.1:8080/ --ramp 10..500", "until answers take longer than 500 ms"),
        ("load report", "load.html shows what was found"),
    ],
    "record": [
        ("load record http://127.0.0.1:8080/", "opens a browser; visit.jsonl has it"),
        ("load record https://example.com/app/ -H 'Cookie: id=7'", "as somebody who has signed in"),
    ],
    "play": [
        ("load play visit.jsonl http://127.0.0.1:8080/ --users 50", "fifty at once"),
        ("load play visit.jsonl http://127.0.0.1:8080/ --ramp 10..500 --p95 300", "until p95 is above 300 ms"),
    ],
    "report": [
        ("load report", "load.jsonl as load.html"),
        ("load report monday.jsonl -o monday.html", "of others"),
    ],
    "help": [("help logs", "what a command takes")],
}


def write_examples(command: str | None, formatter: click.HelpFormatter) -> None:
    """Write the examples of a command below its help.

    Args:
        command: its name; None for the program itself.
        formatter: takes them.
    """
    called = program.name()
    with formatter.section("Examples"):
        formatter.write_dl([(f"{called} {words}".rstrip(), does) for words, does in EXAMPLES[command]], col_max=60)


class Command(click.Command):
    """A command whose help has examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what stands below the options."""
        write_examples(self.name, formatter)


class CommandGroup(click.Group):
    """A command that has commands of its own."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what stands below the commands."""
        write_examples(self.name, formatter)
