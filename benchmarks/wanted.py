"""What is wanted of each scenario, and what its table shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import capacity
import resumption
import scenarios
import wire
from scenarios import BEFORE_THE_DEMO, NAMES, Bench, Launched, Outcome
from visitor import visitor

# The figures that tables show: their headings with the unit, and digits behind the point.
COLUMNS = {
    "rate": ("requests/s", 0),
    "p50_us": ("p50 µs", 0),
    "p99_us": ("p99 µs", 0),
    "cpu_us": ("CPU µs/request", 1),
    "wrong_worker": ("wrong worker %", 0),
    "pages": ("page loads/s", 1),
    "kb_page": ("KB a page", 0),
    "size": ("requests a page", 0),
    "cpu_page": ("CPU ms/page", 2),
    "refused_share": ("failed %", 1),
    "first": ("first load: requests", 0),
    "first_kb": ("KB", 0),
    "second": ("second load: requests", 0),
    "second_kb": ("KB", 0),
    "sessions_rate": ("sessions/s", 1),
    "p50_ms": ("p50 ms", 1),
    "cpu_session": ("CPU ms/session", 2),
    "failed": ("failed", 0),
    "messages_rate": ("messages/s", 0),
    "cpu_message": ("CPU µs/message", 1),
    "opened": ("opened", 0),
    "held": ("held", 0),
    "kb_socket": ("KB a socket", 1),
    "ready1": ("1 ready, s", 2),
    "ready4": ("4 ready, s", 2),
    "ready8": ("8 ready, s", 2),
    "ratio4": ("4 : 1", 2),
    "ratio8": ("8 : 1", 2),
    "answer8": ("8 and the page, s", 2),
    "mb1": ("1 worker, MB", 0),
    "mb8": ("8 workers, MB", 0),
    "further": ("a further worker, MB", 1),
    "tried": ("requests", 0),
    "wrong": ("wrong %", 1),
    "used": ("processes in use", 0),
    "blocked": ("cookies blocked: wrong %", 1),
    "used_blocked": ("processes in use", 0),
    "paint_ms": ("first paint, ms", 0),
    "output_ms": ("first output, ms", 0),
    "kb_before": ("KB until then", 0),
    "browser_ms": ("browser's CPU ms", 0),
    "requests_before": ("requests until then", 0),
    "held_users": ("users held", 0),
    "p95_ms": ("p95 ms", 1),
    "p99_ms": ("p99 ms", 1),
    "cpu_update": ("CPU ms/update", 2),
    "messages_update": ("messages/update", 1),
    "bytes_update": ("bytes/update", 0),
    "mb_user": ("MB a user", 2),
    "kb_session": ("KB a session", 0),
    "kb_more": ("KB more", 1),
    "link_ms": ("ms on 20 Mbit/s", 2),
    "mb_all": ("MB in all", 0),
    "cpu_client": ("CPU of a client %", 0),
    "late_ms": ("clients late, ms", 1),
}


# The table for those in a hurry: scenario, figure, and what it is called there.
SUMMARY = (
    (1, "cpu_us", "CPU a routed request, µs"),
    (1, "wrong_worker", "requests to a wrong worker, %"),
    (2, "cpu_us", "CPU a new client's request, µs"),
    (3, "pages", "page loads a second, cold browser"),
    (3, "kb_page", "KB such a page load"),
    (4, "second", "requests of a second visit"),
    (5, "sessions_rate", "new Shiny sessions a second"),
    (6, "p50_us", "websocket message there and back, µs"),
    (7, "kb_socket", "KB of the front's memory an idle websocket"),
    (10, "wrong", "session requests gone wrong, %"),
    (10, "blocked", "the same, cookies blocked, %"),
)


@dataclass(frozen=True)
class Target:
    """What is wanted of one figure.

    Attributes:
        text: for people.
        key: which figure.
        limit: the most it may be, or the least.
        over: rows that it is divided by, round for round: the best of them. Without, the figure itself counts.
        row: whose figure.
        least: the limit is the least, not the most.
    """

    text: str
    key: str
    limit: float
    over: tuple[str, ...] = ()
    row: str = "ours"
    least: bool = False


@dataclass(frozen=True)
class Scenario:
    """One of them.

    Attributes:
        number: by which it is asked for, as well as by the name of the function that measures it.
        title: of its table.
        measure: does it.
        how: it is measured, in a sentence or two.
        columns: of its table.
        targets: what is wanted.
        compared: the figure whose ratio to `reference` stands in the last column; empty for none.
        reference: a row.
    """

    number: int
    title: str
    measure: Callable[[Bench], Outcome]
    how: str
    columns: str
    targets: tuple[Target, ...]
    compared: str = ""
    reference: str = "plain"

    @property
    def name(self) -> str:
        """By which it is asked for."""
        return self.measure.__name__


def _starts() -> tuple[Target, ...]:
    wanted = []
    for app, title in (("demo", "the demo"), ("science", "pandas, matplotlib")):
        row = f"{app}-forked"
        wanted += [
            Target(f"{title}: {count} workers within 1.3 × the time of one", f"ratio{count}", 1.3, row=row)
            for count in (4, 8)
        ]
        text = f"{title}: a further worker ≤ 40 % of a spawned one's memory"
        wanted.append(Target(text, "further", 0.4, (f"{app}-spawned",), row=row))
    return tuple(wanted)


# In the order in which they run: those that share the demo stand last.
ALL = (
    Scenario(
        1,
        "Routed request",
        scenarios.routed,
        "A cookie that names a worker, all four by turns; wrk with 16 connections; the workers are an nginx that "
        "answers at once. All of nginx's kind write an access log as this project does, HAProxy and Caddy none. "
        "Wrong worker: of 200 requests, those that another worker answered than the cookie names. By valgrind, "
        "nginx itself runs 29,600 instructions a request here and 24,300 in plain `proxy_pass`: the pattern over "
        "the cookie, the upstream looked up by its name, and the header that is not sent.",
        "rate p99_us cpu_us wrong_worker",
        (
            Target("CPU a request ≤ 1.03 × plain nginx's", "cpu_us", 1.03, ("plain",)),
            Target("CPU a request below HAProxy's", "cpu_us", 1.0, ("haproxy",)),
            Target("no request to a wrong worker", "wrong_worker", 0),
        ),
        "cpu_us",
    ),
    Scenario(
        2,
        "First request",
        scenarios.first,
        "As before, without a cookie: each response assigns a worker and sets the cookie (plain nginx sets none).",
        "rate p99_us cpu_us",
        (Target("CPU a request ≤ 1.5 × plain nginx's", "cpu_us", 1.5, ("plain",)),),
        "cpu_us",
    ),
    Scenario(
        9,
        "Cost as workers grow",
        scenarios.growing,
        "As in 1, with the cookies spread over all names and as many sockets. What grows is nginx's search for the "
        "upstream of a name, one by one (by valgrind, nginx runs 30,700 instructions a request with one name, "
        "33,100 with 64, 38,200 with 256), and the number of connections taking turns in the processor's caches; "
        "the latter for everybody, so plain nginx and HAProxy are in the table, too.",
        "rate cpu_us",
        tuple(
            Target(f"{count} names within 5 % of the CPU of one", "cpu_us", 1.05, ("ours-1",), f"ours-{count}")
            for count in NAMES[1:]
        ),
        "cpu_us",
        "ours-1",
    ),
    Scenario(
        6,
        "Websocket echo",
        scenarios.echoes,
        "16 websockets, each of which sends 64 bytes, waits until they are back, and sends again.",
        "p50_us p99_us messages_rate cpu_message",
        (Target("p50 ≤ 1.05 × plain nginx's", "p50_us", 1.05, ("plain",)),),
        "p50_us",
    ),
    Scenario(
        7,
        "4,000 idle websockets",
        scenarios.idle,
        "Opened, left alone for ten seconds, then each gets one more message back. Memory is what the front's "
        "processes grew by (PSS); the front is started anew for each round.",
        "opened held kb_socket",
        (
            Target("all held", "held", 4000, least=True),
            Target("memory a socket ≤ plain nginx's", "kb_socket", 1.0, ("plain",)),
        ),
        "kb_socket",
    ),
    Scenario(
        8,
        "Start of the launcher, and memory",
        scenarios.starts,
        "From the launcher's start to its line that all workers are ready. Memory is the workers' (PSS), with the "
        "process that they were forked off; a further worker's is what eight take more than one, by seven.",
        "ready1 ready4 ready8 ratio4 ratio8 answer8 mb1 mb8 further",
        _starts(),
    ),
    Scenario(
        11,
        "How many users a machine holds",
        capacity.capacity,
        "Users open the page, and again and again think for 3 s on average (a Poisson process; one alone: 0.1 s), "
        "move an input, and wait for its output; of two apps, one is light, and the other's output takes 20 ms of "
        "CPU. The number of users grows until more than 5 % of the outputs take over 300 ms, or anything fails. A "
        "contestant's first row is that of the most users that were held. CPU (less what is used while nobody is "
        "there) and memory are those of all its processes; messages and bytes are what a page is sent. The users "
        "are in two processes of their own, which share the machine with what they use; where they come late, they "
        "are the limit.",
        "held_users p50_ms p95_ms p99_ms cpu_update messages_update bytes_update mb_user mb_all cpu_client late_ms",
        (
            Target(
                "light app: ≥ 5 × the users of 4 plain workers behind nginx",
                "held_users",
                5,
                ("hash-light",),
                "ours-light",
                least=True,
            ),
            Target(
                "CPU an update at 300 users ≤ 1.5 × that of one",
                "cpu_update",
                1.5,
                ("ours-light-1",),
                "ours-light-300",
            ),
            Target("p99 at 300 users < 100 ms", "p99_ms", 100, row="ours-light-300"),
            Target("memory a user at 300 users ≤ 2 MB", "mb_user", 2, row="ours-light-300"),
        ),
    ),
    Scenario(
        12,
        "How messages are sent",
        wire.wire,
        "60 users, all in one process, who think for 1 s: with each of uvicorn's protocols, and "
        "with this project's settings. CPU and memory are those of all processes, the project's with its nginx.",
        "cpu_update messages_update bytes_update link_ms kb_session p50_ms p95_ms",
        (Target("CPU an update below uvicorn's, without its nginx", "cpu_update", 1.0, ("uvicorn",)),),
        "cpu_update",
        "uvicorn",
    ),
    Scenario(
        14,
        "Sessions that can be resumed",
        resumption.resumption,
        "20 users, all in one process of this project, who think for 0.1 s; nothing happens to their network. Once "
        "by pages without the script, whose sessions end with their connection. Memory is what the project's "
        "processes grow by (PSS) with 200 more sessions that nobody uses.",
        "p50_ms p95_ms cpu_update kb_session kb_more",
        (
            Target("CPU an update ≤ 1.05 × without", "cpu_update", 1.05, ("ours-plain",)),
            Target("p50 ≤ 1.05 × without", "p50_ms", 1.05, ("ours-plain",)),
            Target("memory a session ≤ + 10 KB", "kb_more", 10),
        ),
        "cpu_update",
        "ours-plain",
    ),
    Scenario(
        3,
        "Cold page load",
        scenarios.cold,
        "The demo with four workers: the page and every asset that it names, with a browser's headers, again and "
        "again by wrk. Bytes are those of one load, counted on the wire. The CPU time of uvicorn alone is that of "
        "its workers.",
        "pages kb_page size cpu_page refused_share",
        (
            Target("≥ 20 × the page loads a second of the hash", "pages", 20, ("hash",), least=True),
            Target("≤ 20 % of its bytes", "kb_page", 0.2, ("hash",)),
        ),
        "pages",
        "hash",
    ),
    Scenario(
        4,
        "Warm page load",
        scenarios.warm,
        "The same browser loads the page a second time. What is fresh by its own headers comes from its cache; "
        "what says nothing of that is asked about (RFC 9111, without guessing).",
        "first first_kb second second_kb",
        (Target("the HTML and nothing else reaches nginx", "second", 1),),
    ),
    Scenario(
        5,
        "New Shiny sessions",
        scenarios.sessions,
        "Page, websocket, init, first output; eight visitors at a time, each a new one every time.",
        "sessions_rate p50_ms cpu_session failed",
        (
            Target(
                "at least level with the best contestant",
                "sessions_rate",
                1.0,
                tuple(kind.key for kind in BEFORE_THE_DEMO if kind is not Launched),
                least=True,
            ),
        ),
        "sessions_rate",
    ),
    Scenario(
        10,
        "Requests of a session",
        scenarios.stays,
        "Shiny sessions, each in a browser of its own, ask for a route that only their process has; wrong is what "
        "another process answered, or 404. Once with cookies, once by browsers that block them.",
        "tried wrong used blocked used_blocked",
        (
            Target("none goes wrong", "wrong", 0),
            Target("none goes wrong where cookies are blocked", "blocked", 0),
        ),
    ),
    Scenario(
        13,
        "A visitor's first page",
        visitor,
        "Chromium, headless, with nothing in its cache, opens the demo over a link of 10 Mbit/s on which an answer "
        "takes 40 ms (the browser's own emulation, without TLS). First paint and first output are by the page's "
        "clock; the browser's own work is in them, and shares the machine with the workers.",
        "paint_ms output_ms kb_before requests_before browser_ms",
        (
            Target("first output within 40 % of the time of the hash", "output_ms", 0.4, ("hash",)),
            Target("first paint within 40 % of it", "paint_ms", 0.4, ("hash",)),
        ),
        "output_ms",
        "hash",
    ),
)
