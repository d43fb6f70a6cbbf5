"""What the launcher tells a process at its start: one JSON text, on the command line or in a request to fork.

The launcher imports this file as well, so it needs Python 3.9's standard library alone.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class CacheOptions:
    """What nginx keeps of an app's files.

    Attributes:
        folder: where workers keep what they have compressed.
        room: bytes that it may take.
        max_age: seconds that browsers keep Shiny's own files.
        paths: URL paths of other files, and of folders with a slash at their end; a ? behind that: kept once for
            each query.
    """

    folder: str
    room: int
    max_age: int
    paths: list[str]


@dataclass(frozen=True)
class DependencyOptions:
    """Where an app's processes tell each other what they have registered with Shiny (:mod:`.dependencies`).

    Attributes:
        folder: of their notes; the app's alone.
        cache: the folder of what nginx keeps; empty if it keeps nothing.
    """

    folder: str
    cache: str


@dataclass(frozen=True)
class ResumeOptions:
    """How sessions outlive their connections.

    Attributes:
        timeout: seconds that a session waits for a new one; 0: it does not.
        buffer: bytes that are kept for its page meanwhile.
        max_suspended: sessions that wait at a time.
        user_headers: names of request headers that say who asks, and that a new connection must say, too.
    """

    timeout: float
    buffer: int
    max_suspended: int
    user_headers: list[str]


@dataclass(frozen=True)
class NoticeOptions:
    """How visitors are told what goes on with their session.

    Attributes:
        texts: those that stand in place of what the page says by itself, by their names in notices.js.
    """

    texts: dict[str, str]


@dataclass(frozen=True)
class Descriptors:
    """The open files that a process gets from the launcher.

    Attributes:
        control: the socket that :mod:`.protocol` is spoken on.
        output: the reading end of the pipe that standard output goes to. Held open, it saves a process whose
            launcher has died from writing into a broken pipe.
        errors: the same for standard error.
        log: a file that takes both from then on.
        pid_file: for the process to lock, as long as it lives.
        listen: a worker's bound socket; None for a fork server.
    """

    control: int
    output: int
    errors: int
    log: int
    pid_file: int
    listen: int | None = None

    def all(self) -> list[int]:
        """Those that there are, in their order above."""
        return [value for value in dataclasses.astuple(self) if value is not None]


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is to do, or a fork server.

    Attributes:
        name: of the incarnation (app2.k3f9), or of the fork server (app-k3f9).
        target: the app.
        forks: whether it is a fork server, which imports the app and forks workers off itself.
        findings: of a fork server: the file that remembers which of the app's imports are left to the forks; empty
            for none.
        distrust: of a fork server: why it is to share nothing of the app with its forks, to stand behind "which";
            else empty.
        path: where the app is mounted, with a slash at its end.
        stop_timeout: seconds that open requests get after SIGTERM.
        drain_timeout: seconds that open sessions get after SIGUSR2.
        max_sessions: websockets that may be open at a time; 0 is no limit.
        frame_ancestors: who may show its pages in a frame, as Content-Security-Policy says it; empty for everybody.
        isolated: whether one session is all that the worker ever has; of a fork server: that each of its forks has.
        cookie: the name of the cookie that names the worker.
        empty_flushes: whether Shiny's pages are sent messages that say nothing, too.
        compress_messages: bytes of the smallest message that a websocket compresses; None for none.
        cache: what nginx keeps; None for nothing.
        link: the path by which nginx finds the worker's socket; it leads to that of the process which serves now.
        resume: how sessions outlive their connections; None for a fork server.
        notices: how visitors are told what goes on; None where they are not.
        reconnect: what a page does when the process is gone that had its session: "inputs", "ask" or "off".
        dependencies: where to tell what is registered with Shiny; None for a fork server.
        kept: the folder in which the app's processes keep for later sessions what pages had.
        release: what tells this deploy's pages from the next one's, with which they are to come back (--reload);
            empty where pages are left alone.
        log_size: bytes that the log may have which takes what is printed without a launcher; 0 is no limit.
        inbox: a worker's file in which later launchers leave messages, once there is no other way.
        descriptors: what it gets along; None in a request to fork, with which they are sent.
    """

    name: str
    target: str
    forks: bool = False
    findings: str = ""
    distrust: str = ""
    path: str = "/"
    stop_timeout: float = 0
    drain_timeout: float = 0
    max_sessions: int = 0
    frame_ancestors: str = ""
    isolated: bool = False
    cookie: str = ""
    empty_flushes: bool = False
    compress_messages: int | None = None
    cache: CacheOptions | None = None
    link: str = ""
    dependencies: DependencyOptions | None = None
    resume: ResumeOptions | None = None
    notices: NoticeOptions | None = None
    reconnect: str = "off"
    kept: str = ""
    release: str = ""
    log_size: int = 0
    inbox: str = ""
    descriptors: Descriptors | None = None

    def to_json(self) -> str:
        """One line of text that :meth:`from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerOptions:
        """The options that a text says.

        Args:
            text: of :meth:`to_json`.
        """
        options = json.loads(text)
        for key, kind in PARTS.items():
            if options[key] is not None:
                options[key] = kind(**options[key])
        return cls(**options)


# The fields of a worker's options that have fields themselves.
PARTS = {
    "cache": CacheOptions,
    "dependencies": DependencyOptions,
    "resume": ResumeOptions,
    "notices": NoticeOptions,
    "descriptors": Descriptors,
}
