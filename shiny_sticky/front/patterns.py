"""Regular expressions of nginx's configuration: numbers, names of processes, what a browser accepts."""

from __future__ import annotations

import re

from shiny_sticky.settings.names import TAG_PATTERN

# NAME in an Accept-Encoding header, unless it comes with q=0, which refuses it: RFC 9110, section 12.5.3. A worker
# that compresses reads the header in the same way (worker/middleware/compression.py).
ACCEPTED = r"~*\bNAME\b(?![ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:,|$))"

# The name of a folder of Shiny's, with its version, as in worker/dependencies.py.
VERSIONED = "[^/]+-[0-9][^/]*"


def numbers_pattern(last: int) -> str:
    """A regular expression that matches 1, 2, ... last, and nothing else.

    Args:
        last: 1 to 999.

    Returns:
        Such as ``[1-4]`` for 4, ``(?:[1-9]|1[0-2])`` for 12.
    """
    parts: list[str] = []
    for digits in range(1, len(str(last))):
        parts += _up_to("9" * digits, 1)
    parts += _up_to(str(last), 1)
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def incarnations_pattern(app: str, apps: list[str]) -> str:
    """A regular expression that matches the names of an app's processes, of any number up to 999.

    Args:
        app: such as ``app``.
        apps: all apps; what could be the name of another one's process is left out: the first of ``app1`` is
            ``app11.k3f9``.
    """
    others = "".join(f"(?!{other}[1-9])" for other in apps if re.fullmatch(f"{app}[1-9][0-9]?", other))
    return rf"{others}{app}[1-9][0-9]{{0,2}}\.{TAG_PATTERN}"


def paths(named: list[str], lib: str = "") -> str:
    r"""A regular expression that matches URL paths.

    A location with a slash at its end would do for a folder, but nginx redirects what lacks the slash, and an app
    may have a page there.

    Args:
        named: of files, and of folders with a slash at their end, which stand for all below them.
        lib: a folder whose folders are meant if their names have a version, and all below these.

    Returns:
        Such as ``^(?:/img/|/logo\.png$)``; empty for no path.
    """
    parts = [re.escape(path) + ("" if path.endswith("/") else "$") for path in named]
    if lib:
        parts.insert(0, f"{re.escape(lib)}{VERSIONED}/")
    return f"^(?:{'|'.join(parts)})" if parts else ""


def _up_to(high: str, first: int) -> list[str]:
    """Patterns for the numbers up to `high` with as many digits, and a leading digit of at least `first`."""
    head, tail = int(high[0]), high[1:]
    if tail.strip("9") == "":
        return [_digit(first, head) + "[0-9]" * len(tail)]
    below = [_digit(first, head - 1) + "[0-9]" * len(tail)] if first < head else []
    return below + [f"{head}{rest}" for rest in _up_to(tail, 0)]


def _digit(low: int, high: int) -> str:
    return f"[{low}-{high}]" if low < high else str(low)
