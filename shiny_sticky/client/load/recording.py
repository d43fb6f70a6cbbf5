"""A recording of a visit, read and written in the format of shinyloadtest, ``# version: 1``.

Lines that begin with ``#`` say what was recorded, one key each. Each other line is an event, an object in JSON.
What differs from session to session is a placeholder in it, such as ``${SESSION}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from shiny_sticky.errors import StickyError

VERSION = 1

PLACEHOLDER = re.compile(r"\$\{(WORKER|TOKEN|ROBUST_ID|SOCKJSID|SESSION|UPLOAD_URL|UPLOAD_JOB_ID)\}")


class Kind(StrEnum):
    """What an event is."""

    PAGE = "REQ_HOME"
    SOCKJS_INFO = "REQ_SINF"
    TOKEN = "REQ_TOK"
    GET = "REQ_GET"
    POST = "REQ_POST"
    OPEN = "WS_OPEN"
    INIT = "WS_RECV_INIT"
    BEGIN_UPLOAD = "WS_RECV_BEGIN_UPLOAD"
    RECEIVE = "WS_RECV"
    SEND = "WS_SEND"
    CLOSE = "WS_CLOSE"


REQUESTS = (Kind.PAGE, Kind.SOCKJS_INFO, Kind.TOKEN, Kind.GET, Kind.POST)
RECEIVED = (Kind.INIT, Kind.BEGIN_UPLOAD, Kind.RECEIVE)
MESSAGES = (*RECEIVED, Kind.SEND)


@dataclass(frozen=True)
class Event:
    """One thing that happened in a visit.

    Attributes:
        kind: what.
        begin: when it began, Unix time in seconds.
        end: when a request had been answered, likewise; of all others as `begin`.
        line: of the recording, from 1; 0 if it has not been written yet.
        url: of a request or the websocket, below the app's own; it begins with a slash.
        status: of the answer to a request.
        message: of the websocket.
        datafile: the file with a request's body, beside the recording; empty if it has none.
    """

    kind: Kind
    begin: float
    end: float
    line: int = 0
    url: str = ""
    status: int = 0
    message: str = ""
    datafile: str = ""

    def as_line(self) -> str:
        """The event as a recording has it."""
        what: dict[str, Any] = {"type": self.kind.value, "begin": _timestamp(self.begin)}
        if self.kind in REQUESTS:
            what |= {"end": _timestamp(self.end), "status": self.status}
        if self.kind in REQUESTS or self.kind is Kind.OPEN:
            what["url"] = self.url
        if self.kind in MESSAGES:
            what["message"] = self.message
        if self.datafile:
            what["datafile"] = self.datafile
        return json.dumps(what, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Recording:
    """A visit.

    Attributes:
        file: where it was read.
        about: what its head says: `version`, `target_url`, `target_type`.
        events: in the order of the file.
    """

    file: Path
    about: Mapping[str, str]
    events: tuple[Event, ...]

    def body(self, event: Event) -> bytes:
        """The body of a request.

        Raises:
            StickyError: its file is missing.
        """
        if not event.datafile:
            return b""
        file = self.file.parent / event.datafile
        try:
            return file.read_bytes()
        except OSError as error:
            raise StickyError(
                f"{self.file}:{event.line}: what was uploaded is in {file}, which cannot be read "
                f"({error.strerror}). Keep it beside the recording."
            ) from None


def read(file: Path) -> Recording:
    """Read a recording.

    Raises:
        StickyError: the file is missing or no recording, of a later version, or of a visit that was not finished.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StickyError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StickyError(f"{file} is no recording: it is not text in UTF-8") from None
    about = _head(file, lines)
    numbered = enumerate(lines, 1)
    events = tuple(_event(file, number, line) for number, line in numbered if line and not line.startswith("#"))
    if not any(event.kind is Kind.OPEN for event in events):
        raise StickyError(f"{file} has no Shiny session in it: no event is a {Kind.OPEN.value}")
    return Recording(file, about, events)


def _head(file: Path, lines: list[str]) -> dict[str, str]:
    """What the first lines say; those of before version 1 have `target` in place of `target_url`, or no head."""
    found = (re.fullmatch(r"# (\w+): ?(.*)", line) for line in lines if line.startswith("#"))
    about = {match[1]: match[2] for match in found if match}
    if "target" in about:
        about |= {"target_url": about.pop("target"), "version": str(VERSION)}
    version = about.setdefault("version", str(VERSION))
    if not version.isdecimal() or int(version) > VERSION:
        raise StickyError(f"{file} is a recording of version {version}; this program reads version {VERSION}")
    return about


def _event(file: Path, number: int, line: str) -> Event:
    try:
        what = json.loads(line)
        kind = Kind(what["type"])
        begin = _seconds(what["begin"])
        return Event(
            kind=kind,
            begin=begin,
            end=_seconds(what["end"]) if "end" in what else begin,
            line=number,
            url=str(what["url"]) if kind in REQUESTS or kind is Kind.OPEN else "",
            status=int(what["status"]) if kind in REQUESTS else 0,
            message=str(what["message"]) if kind in MESSAGES else "",
            datafile=str(what.get("datafile", "")),
        )
    except KeyError as error:
        raise StickyError(f"{file}:{number}: the event has no {error}") from None
    except (ValueError, TypeError) as error:
        raise StickyError(f"{file}:{number}: this is no event of a recording: {error}") from None


class Writer:
    """Writes a recording, event by event, each at once.

    Args:
        file: where; an older one is replaced.
        target_url: what is recorded.
        target_type: what serves it, in shinyloadtest's words.
    """

    def __init__(self, file: Path, target_url: str, target_type: str) -> None:
        self.file = file
        self.events = 0
        self.bodies: list[Path] = []
        try:
            self._stream: TextIO = file.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StickyError(f"{file} cannot be written: {error.strerror}") from None
        head = {"version": VERSION, "target_url": target_url, "target_type": target_type}
        self._stream.writelines(f"# {key}: {value}\n" for key, value in head.items())

    def write(self, event: Event) -> None:
        """Add an event; nothing after the end."""
        if not self._stream.closed:
            self._stream.write(event.as_line() + "\n")
            self.events += 1

    def keep_body(self, body: bytes) -> str:
        """Keep a request's body in a file beside the recording, and give that file's name."""
        file = self.file.with_name(f"{self.file.name}.post.{len(self.bodies)}")
        file.write_bytes(body)
        self.bodies.append(file)
        return file.name

    def close(self) -> None:
        """No more comes."""
        self._stream.close()


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """A recorded text with a session's own values in place of the placeholders.

    Raises:
        KeyError: a placeholder has no value yet.
    """
    return PLACEHOLDER.sub(lambda match: values[match[1]], text)


def taken_out(text: str, values: Mapping[str, str]) -> str:
    """A text with placeholders in place of a session's own values, the longest first.

    Args:
        text: of a message or an address.
        values: by their placeholders' names.
    """
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        if value:
            text = text.replace(value, f"${{{name}}}")
    return text


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
