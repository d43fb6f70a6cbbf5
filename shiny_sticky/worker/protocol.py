"""What the launcher and the processes of an app tell each other: one line of JSON a message, over a socket pair.

The launcher imports this file as well, so it needs Python 3.9's standard library alone.

============== ======================= ==========================================================
from           to                      messages
============== ======================= ==========================================================
a worker       the launcher            :class:`Ready` or :class:`Failed`; then :class:`Beat`
a fork server  the launcher            :class:`Ready`, :class:`Unforkable` or :class:`Failed`; then
                                       :class:`Forked`, :class:`Refused`, :class:`Ended`
the launcher   a worker                :class:`Superseded`, :class:`Announce`, :class:`Stopping`,
                                       :class:`Gate`
the launcher   a fork server           :class:`Fork`, :class:`Proven`, :class:`Retire`
============== ======================= ==========================================================
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass


@dataclass(frozen=True)
class Ready:
    """A worker answers; a fork server has imported its app, and can fork.

    Attributes:
        shiny: of a worker: whether its app is Shiny's.
        left: of a fork server: what each fork imports itself, to stand behind "each worker imports"; empty if
            all is shared.
        proven: of a fork server: whether its app, as it is now, was forked before, and worked.
    """

    shiny: bool = True
    left: str = ""
    proven: bool = False


@dataclass(frozen=True)
class Failed:
    """A process cannot serve, and ends.

    Attributes:
        text: why, in a sentence.
        traceback: of the app's own code, if that failed; else empty.
    """

    text: str
    traceback: str = ""


@dataclass(frozen=True)
class Beat:
    """A worker's event loop runs: sent every second, and whenever something of it changes.

    Attributes:
        sessions: websockets that are open.
        suspended: those of them whose connection is lost, and that wait for their page.
        sessions_served: websockets accepted since the start.
        expected: sessions that are about to come: handshakes, and pages that were served a moment ago.
        pages_taken: pages served since the start to visitors that did not name this worker.
        sessions_taken: handshakes of such visitors since the start.
        idle: seconds for which nothing has been open, neither a websocket nor a request.
        late: milliseconds by which the event loop has come late to what was due, on average over the last seconds.
        admitted: pages served since the start to visitors who have waited for a place, and whose turn it was.
    """

    sessions: int
    sessions_served: int
    suspended: int = 0
    expected: int = 0
    pages_taken: int = 0
    sessions_taken: int = 0
    idle: float = 0.0
    late: int = 0
    admitted: int = 0


@dataclass(frozen=True)
class Unforkable:
    """A fork server must not fork, and ends. It has noted what another one had better leave to its forks.

    Attributes:
        reason: what the app does, to stand behind "because it".
    """

    reason: str


@dataclass(frozen=True)
class Forked:
    """A fork server has forked a worker.

    Attributes:
        name: the incarnation.
        pid: its process.
    """

    name: str
    pid: int


@dataclass(frozen=True)
class Refused:
    """A fork server could not fork a worker.

    Attributes:
        name: the incarnation.
        text: why, in a sentence.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Ended:
    """A fork has ended.

    Attributes:
        pid: the process that it was.
        code: its exit code, negative for a signal.
    """

    pid: int
    code: int


@dataclass(frozen=True)
class Fork:
    """The launcher asks for a worker.

    Descriptors come along: standard output, standard error, and those of :class:`.options.Descriptors` in order.

    Attributes:
        options: the worker's :class:`.options.WorkerOptions`, as JSON.
    """

    options: str


@dataclass(frozen=True)
class Proven:
    """The first fork of a fork server answers: what is left to forks, and what is not, may be remembered."""


@dataclass(frozen=True)
class Superseded:
    """A deploy is done: others serve a newer version of the app than this worker."""


@dataclass(frozen=True)
class Announce:
    """All pages are to show a text.

    Attributes:
        text: empty if they are to show none any more.
    """

    text: str


@dataclass(frozen=True)
class Stopping:
    """The whole site ends.

    Attributes:
        seconds: that open sessions get.
    """

    seconds: float


@dataclass(frozen=True)
class Gate:
    """Whether new visitors come in, or wait for their turn; said again every few seconds, for which it holds.

    Attributes:
        closed: whether they wait.
        key: by which a worker knows those whose turn it is (:mod:`.tokens`), in hexadecimal digits.
    """

    closed: bool
    key: str


@dataclass(frozen=True)
class Retire:
    """The launcher wants no more forks: the fork server ends with the last of those that it has."""


# Bytes of a line. What is longer is no message.
LONGEST = 1 << 20

OF_PROCESSES = (Ready, Failed, Beat, Unforkable, Forked, Refused, Ended)
OF_LAUNCHER = (Superseded, Announce, Stopping, Gate, Fork, Proven, Retire)

KINDS = {kind.__name__: kind for kind in OF_PROCESSES + OF_LAUNCHER}


class ProtocolError(ValueError):
    """A line is no message."""


def encode(message: object) -> bytes:
    """A message as the line that is sent.

    Args:
        message: of one of the classes above.
    """
    fields = vars(message)
    return json.dumps({"message": type(message).__name__, **fields}).encode() + b"\n"


def decode(line: str | bytes) -> object:
    """The message that a line says.

    Returns:
        An object of one of the classes above, each field of the type that is written there.

    Raises:
        ProtocolError: the line says none.
    """
    try:
        told = json.loads(line)
        kind = KINDS[told.pop("message")]
        message = kind(**told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProtocolError(f"no message: {line[:80]!r}") from None
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if type(getattr(message, field.name)) is not types[field.name]:
            raise ProtocolError(f"{kind.__name__}.{field.name} is no {types[field.name].__name__}: {line[:80]!r}")
    return message
