"""What a number of users found: figures of a level, whether the limit was kept, and what the first limit is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shiny_sticky.client.load.machine import Look
from shiny_sticky.client.load.notes import Fault, Reply

# Of all that was asked for: more must not fail.
FAULTS_SHARE = 0.01

# A client that is late by less than this share of the limit can tell whether it is kept.
LAG_SHARE = 0.1

# Of the machine's CPU time, or of a core for one process: all of it, as far as that is ever seen.
BUSY = 0.85


@dataclass(frozen=True)
class Level:
    """What a number of users found while all of them were there.

    Attributes:
        users: how many.
        begin: when all had come, by `time.monotonic`.
        end: when more came, or it was over.
        replies: that were asked for meanwhile; those still waited for at the end count with the time until then.
        p50: seconds within which half of the answers came; None if there was none. Likewise the next ones.
        p95: 95 of 100.
        p99: 99 of 100.
        faults: what went wrong, how often.
        finished: visits that came to their end.
        lag: seconds by which the client was late itself, in 95 of 100 looks.
        busy: of this machine's CPU time.
        own: of this machine's CPU time, what the client took.
        workers: of a core, by worker.
        sessions: open, by worker.
        fault: the most frequent one.
        broken: why the limit was not kept; empty if it was.
        unsure: why that cannot be told; empty if it can.
    """

    users: int
    begin: float
    end: float
    replies: int
    p50: float | None
    p95: float | None
    p99: float | None
    faults: int
    finished: int
    lag: float
    busy: float
    own: float
    workers: dict[str, float] = field(default_factory=dict)
    sessions: dict[str, float] = field(default_factory=dict)
    fault: str = ""
    broken: str = ""
    unsure: str = ""


@dataclass
class Seen:
    """What was seen while a level lasted.

    Attributes:
        replies: that were asked for meanwhile.
        waiting: seconds that answers were waited for which had not come at the end.
        faults: what went wrong.
        more_faults: how many beside those.
        finished: visits that came to their end.
        lags: by how many seconds the client was late.
        looks: at machine and workers.
        own_cpu: seconds of CPU time that the client took.
        cores: of this machine.
    """

    replies: list[Reply]
    waiting: list[float]
    faults: list[Fault]
    more_faults: int
    finished: int
    lags: list[float]
    looks: list[Look]
    own_cpu: float
    cores: int


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that as many of all are not above as are asked for.

    Args:
        values: in any order.
        share: 0.95 for 95 of 100.

    Returns:
        One of the values; None if there is none.
    """
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, max(0, math.ceil(share * len(values)) - 1))]


def judged(users: int, begin: float, end: float, seen: Seen, limit: float) -> Level:
    """Judge a level.

    Args:
        users: how many there were.
        begin: when all had come.
        end: when it was over.
        seen: what was seen meanwhile.
        limit: seconds that 95 of 100 answers must come within.
    """
    arrived = [reply.seconds for reply in seen.replies]
    # Who has waited longer than the limit has been let down already; of the others that is not known.
    seconds = arrived + [waited for waited in seen.waiting if waited > limit]
    p95 = quantile(seconds, 0.95)
    faults = len(seen.faults) + seen.more_faults
    lag = quantile(seen.lags, 0.95) or 0.0
    return Level(
        users=users,
        begin=begin,
        end=end,
        replies=len(seconds),
        p50=quantile(seconds, 0.5),
        p95=p95,
        p99=quantile(seconds, 0.99),
        faults=faults,
        finished=seen.finished,
        lag=lag,
        busy=_mean(look.busy for look in seen.looks),
        own=seen.own_cpu / max(1e-9, end - begin) / seen.cores,
        workers=_by_worker(seen.looks, "cpu"),
        sessions=_by_worker(seen.looks, "sessions"),
        fault=_most_frequent(seen.faults),
        broken=_broken(p95, faults, len(seconds), limit),
        unsure=_unsure(p95, lag, limit),
    )


def _broken(p95: float | None, faults: int, replies: int, limit: float) -> str:
    if faults > FAULTS_SHARE * (replies + faults):
        return f"{faults} of {replies + faults} answers failed"
    if p95 is None:
        return "no answer came"
    return f"p95 was {shown(p95)}" if p95 > limit else ""


def _most_frequent(faults: Sequence[Fault]) -> str:
    counted = Counter((fault.what, fault.why) for fault in faults)
    if not counted:
        return ""
    (what, why), _ = counted.most_common(1)[0]
    return f"{what}: {why}"


def _unsure(p95: float | None, lag: float, limit: float) -> str:
    """Why a level cannot be judged: the client was so late itself that the limit may be kept or not."""
    near = p95 is not None and p95 - lag <= limit <= p95 + lag
    if (lag > LAG_SHARE * limit and near) or lag > limit:
        return f"the client itself was late by {shown(lag)}"
    return ""


def first_limit(level: Level, is_here: bool, cores: int) -> str:
    """What kept a level from being kept.

    Args:
        level: that was broken.
        is_here: whether the site is on this machine.
        cores: of this machine.

    Returns:
        The first limit, for the end of a sentence.
    """
    if level.faults and level.broken.endswith("failed"):
        return f"what fails: {level.fault}"
    if is_here and level.busy >= BUSY:
        return _cpu(level, cores)
    full = [name for name, cpu in level.workers.items() if cpu >= BUSY]
    if full:
        have = "has one core" if len(full) == 1 else "have one core each"
        return f"that {' and '.join(full)} {have}, and more workers have more"
    if level.workers:
        return "not CPU: workers wait for something, such as a database or each other"
    return "not known from here; see `status` and `top` on the site's machine"


def _cpu(level: Level, cores: int) -> str:
    """Who had the CPU time of this machine, as far as that is known."""
    if not level.workers:
        return f"CPU, of which this client had {level.own:.0%}"
    workers = sum(level.workers.values()) / cores
    return f"CPU, of which the workers had {workers:.0%} and this client {level.own:.0%}"


def shown(seconds: float | None) -> str:
    """A time, for people."""
    if seconds is None:
        return "–"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"


def _by_worker(looks: Iterable[Look], what: str) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for look in looks:
        for worker in look.workers:
            found[worker.name].append(getattr(worker, what))
    return {name: round(sum(values) / len(values), 3) for name, values in found.items()}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
