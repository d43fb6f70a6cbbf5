"""Recordings made for a test, event by event, with the times that the test chooses."""

from __future__ import annotations

import json
from pathlib import Path

from shiny_sticky.client.load.recording import Event, Kind, Writer

# When recorded visits began, Unix time.
BEGAN = 1_700_000_000.0


class Recorded:
    """Writes a recording.

    Args:
        file: of the recording.

    Attributes:
        now: seconds since the visit began; `pause` moves it on.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.now = 0.0
        self._writer = Writer(file, "http://127.0.0.1:1/", "R/Shiny")

    def pause(self, seconds: float) -> Recorded:
        self.now += seconds
        return self

    def request(self, kind: Kind, url: str, status: int = 200, body: bytes = b"") -> Recorded:
        kept = self._writer.keep_body(body) if body else ""
        return self.event(kind, url=url, status=status, datafile=kept)

    def session(self) -> Recorded:
        """A page that is loaded, and its session."""
        self.request(Kind.PAGE, "/").request(Kind.GET, "/lib/a.js").request(Kind.GET, "/lib/b.css")
        self.event(Kind.OPEN, url="/websocket/")
        return self.event(Kind.INIT, message=json.dumps({"config": {"sessionId": "${SESSION}"}}))

    def says(self, **what) -> Recorded:
        return self.event(Kind.SEND, message=json.dumps(what))

    def sets(self, *inputs: str) -> Recorded:
        return self.says(method="update", data=dict.fromkeys(inputs, 1))

    def hears(self, *outputs: str) -> Recorded:
        values = dict.fromkeys(outputs, "1")
        return self.hears_message({"values": values, "inputMessages": [], "errors": {}})

    def hears_message(self, what, kind: Kind = Kind.RECEIVE) -> Recorded:
        return self.event(kind, message=json.dumps(what))

    def closed(self) -> Path:
        self.event(Kind.CLOSE)
        self._writer.close()
        return self.file

    def event(self, kind: Kind, **what) -> Recorded:
        """Any event, at this time."""
        self._writer.write(Event(kind, BEGAN + self.now, BEGAN + self.now, **what))
        return self
