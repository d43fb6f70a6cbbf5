"""What was found, in a file of JSON lines: written while visits are played, and read for the report."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from shiny_sticky.client.load.judging import Level
from shiny_sticky.client.load.machine import Look, WorkerLook
from shiny_sticky.client.load.notes import Fault, Reply
from shiny_sticky.errors import StickyError

VERSION = 1


@dataclass(frozen=True)
class Run:
    """What was played, and where.

    Attributes:
        recording: the visit's file.
        url: of the site.
        limit: seconds that 95 of 100 answers must come within.
        began: Unix time in seconds.
        length: seconds that the recorded visit took.
        processes: that played.
        cores: of this machine.
        here: whether the site is on it.
    """

    recording: str
    url: str
    limit: float
    began: float
    length: float
    processes: int
    cores: int
    here: bool


@dataclass(frozen=True)
class Moment:
    """How it stood at a time with one of the playing processes.

    Attributes:
        at: the time.
        process: its number.
        users: that it played for.
        lag: seconds by which it was late at most since the last moment.
    """

    at: float
    process: int
    users: int
    lag: float


@dataclass
class Found:
    """All that a file of results has; times are seconds since the start.

    Attributes:
        run: what was played.
        replies: that came.
        faults: what went wrong.
        moments: of the playing processes.
        looks: at machine and workers.
        levels: each number of users, in the order in which they came.
        verdict: the answer, in a sentence.
    """

    run: Run
    replies: list[Reply] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    verdict: str = ""


class ResultsWriter:
    """Writes results, line by line, so that what there is of them is whole whenever it ends.

    Args:
        file: where; an older one is replaced.
        run: what is played.
        zero: the start, by `time.monotonic`.
    """

    def __init__(self, file: Path, run: Run, zero: float) -> None:
        try:
            self._stream: TextIO = file.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StickyError(f"{file} cannot be written: {error.strerror}") from None
        self._zero = zero
        self._put("run", {"version": VERSION, **dataclasses.asdict(run)})

    def write(self, what: Reply | Fault | Moment | Look | Level) -> None:
        """Add something; its times, by `time.monotonic`, become seconds since the start."""
        values = dataclasses.asdict(what)
        for key in ("at", "begin", "end"):
            if key in values:
                values[key] = round(values[key] - self._zero, 4)
        if "seconds" in values:
            values["seconds"] = round(values["seconds"], 5)
        self._put(type(what).__name__.lower(), values)

    def verdict(self, text: str) -> None:
        """Add the answer."""
        self._put("verdict", {"text": text})

    def close(self) -> None:
        """No more comes."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, kind: str, values: dict[str, Any]) -> None:
        self._stream.write(json.dumps({"type": kind, **values}, ensure_ascii=False) + "\n")


def read(file: Path) -> Found:
    """Read results.

    Raises:
        StickyError: the file is missing, or has none.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        about = json.loads(lines[0]) if lines else {}
        if about.pop("type", "") != "run" or about.pop("version") != VERSION:
            raise ValueError
        found = Found(Run(**about))
        for line in lines[1:]:
            _add(found, json.loads(line))
    except OSError as error:
        raise StickyError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise StickyError(f"{file} has no results: those are what `load play … -o FILE` writes") from None
    return found


def _add(found: Found, values: dict[str, Any]) -> None:
    match values.pop("type"):
        case "reply":
            found.replies.append(Reply(**values))
        case "fault":
            found.faults.append(Fault(**values))
        case "moment":
            found.moments.append(Moment(**values))
        case "look":
            workers = [WorkerLook(**worker) for worker in values.pop("workers")]
            found.looks.append(Look(**values, workers=workers))
        case "level":
            found.levels.append(Level(**values))
        case "verdict":
            found.verdict = values["text"]
