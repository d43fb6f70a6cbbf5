"""What has been found, a line for each check, with what to do about it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shiny_sticky.output import PROBLEM, Output

Result = Literal["good", "bad", "none"]

MARKS: dict[Result, str] = {"good": "✓", "bad": "✗", "none": "–"}
STYLES: dict[Result, str] = {"good": "green", "bad": PROBLEM, "none": "dim"}


@dataclass
class Finding:
    """What a check has found.

    Attributes:
        check: its name, for programs.
        result: ``none`` where there is nothing to find.
        says: a sentence.
        advice: what to do about it, a line each.
        facts: the figures, for programs.
    """

    check: str
    result: Result
    says: str
    advice: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def printable(text: str) -> str:
    """A text with a question mark for all that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


class Report:
    """All findings, printed as they come.

    Args:
        is_silent: print nothing; somebody wants them as JSON.

    Attributes:
        findings: so far.
    """

    def __init__(self, is_silent: bool = False) -> None:
        self.findings: list[Finding] = []
        self._output = None if is_silent else Output([])
        self._shows_progress = not is_silent and sys.stdout is not None and sys.stdout.isatty()

    def add(self, finding: Finding) -> None:
        """Take a finding, and print it."""
        self.findings.append(finding)
        self.say(f"{MARKS[finding.result]} {finding.says}", STYLES[finding.result])
        for line in finding.advice if finding.result == "bad" else []:
            self.say(f"    {line}", "")

    def say(self, text: str, style: str = "") -> None:
        """Print a line that is no finding; what a site has put into it does nothing to the terminal."""
        if self._output:
            self._output.print_only(printable(text), style)

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show what is being done while a block runs, on a terminal; what the block is given replaces the text."""
        if self._output is None or not self._shows_progress:
            yield lambda _: None
            return
        with self._output.progress(text) as line:
            yield line.update

    @property
    def is_bad(self) -> bool:
        """Whether something was found."""
        return any(finding.result == "bad" for finding in self.findings)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The findings for JSON."""
        return [asdict(finding) for finding in self.findings]
