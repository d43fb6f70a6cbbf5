"""How many workers an app has: a number, a range, or what the machine has room for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from shiny_sticky import memory

# Workers that an app may have.
MOST_WORKERS = 256

# Bytes that a worker takes with a handful of sessions, and with one alone. For how many workers there is memory,
# `auto` knows by them.
WORKER_BYTES, ISOLATED_BYTES = 64 << 20, 24 << 20

EXAMPLE = "{min: 1, max: 64}"


@dataclass(frozen=True)
class WorkerRange:
    """How many workers there are.

    Attributes:
        min: at least.
        max: at most.
    """

    min: int
    max: int

    def __str__(self) -> str:
        return str(self.max) if self.min == self.max else f"{self.min} to {self.max}"

    @property
    def is_fixed(self) -> bool:
        """Whether there are always as many."""
        return self.min == self.max


def _by_machine(worker_bytes: int) -> WorkerRange:
    """One a core at least, and as many as there is memory for."""
    cores = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST_WORKERS
    )
    return WorkerRange(cores, max(cores, min(MOST_WORKERS, memory.look().total // worker_bytes)))


def _read(value: Any, info: ValidationInfo) -> WorkerRange:
    """The range that a setting means, where `isolation` is read already.

    Raises:
        ValueError: with what is allowed.
    """
    if isinstance(value, WorkerRange):
        return value
    if value == "auto":
        return _by_machine(ISOLATED_BYTES if info.data.get("isolation") == "session" else WORKER_BYTES)
    if isinstance(value, Mapping):
        return _range(value)
    number = _number(value, f"expected a whole number, auto or {EXAMPLE}")
    return WorkerRange(number, number)


def _range(value: Mapping[str, Any]) -> WorkerRange:
    if unknown := [str(key) for key in value if key not in ("min", "max")]:
        raise ValueError(f"unknown key {unknown[0]}; expected two: {EXAMPLE}")
    least = _number(value.get("min", 1), "min: expected a whole number")
    most = _number(value.get("max"), f"max: expected a whole number, as in {EXAMPLE}")
    if least > most:
        raise ValueError(f"min is {least} and max {most}; expected min to be the smaller one")
    return WorkerRange(least, most)


def _number(value: Any, expected: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{expected}, got {value!r}")
    if value < 1:
        raise ValueError(f"expected greater than or equal to 1, got {value}")
    if value > MOST_WORKERS:
        raise ValueError(f"expected less than or equal to {MOST_WORKERS}, got {value}")
    return value


_COUNT = {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}

Workers = Annotated[
    WorkerRange,
    PlainValidator(_read),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "anyOf": [
                _COUNT,
                {"const": "auto"},
                {
                    "type": "object",
                    "properties": {"min": _COUNT, "max": _COUNT},
                    "required": ["max"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
