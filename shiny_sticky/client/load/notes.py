"""What is noted while visits are played."""

from __future__ import annotations

from dataclasses import dataclass, field

# What a batch has room for of faults: of a site that fails always, a few tell it all.
FAULTS = 200


@dataclass(frozen=True)
class Reply:
    """An answer that a visitor waited for.

    Attributes:
        at: when it was asked for, by `time.monotonic`.
        seconds: until it came.
        what: it was; see `Action.label`.
    """

    at: float
    seconds: float
    what: str


@dataclass(frozen=True)
class Fault:
    """Something that went wrong.

    Attributes:
        at: when.
        what: was done; see `Action.label`.
        why: how it failed.
    """

    at: float
    what: str
    why: str


@dataclass
class Batch:
    """What one process has noted since its last batch.

    Attributes:
        users: who are at it now.
        finished: visits that were played to their end.
        replies: in the order in which they came.
        faults: what went wrong.
        more_faults: how many beside those.
        waiting: since when each answer is waited for that has not come yet, by `time.monotonic`.
        lags: by how many seconds the process was late.
        cpu: seconds of CPU time that it has taken in all.
    """

    users: int = 0
    finished: int = 0
    replies: list[Reply] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    more_faults: int = 0
    waiting: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def fault(self, fault: Fault) -> None:
        """Note what went wrong."""
        if len(self.faults) < FAULTS:
            self.faults.append(fault)
        else:
            self.more_faults += 1
