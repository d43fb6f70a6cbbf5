"""The Shiny apps that an import has made: the one that is served, and those inside of other apps."""

from __future__ import annotations

import functools
import gc
import sys
import time
from typing import Any


@functools.cache
def imported() -> tuple[Any, ...]:
    """Every ``shiny.App`` that there is at the first call, which must come after the import, before ``gc.freeze``.

    An app may be mounted in another one, or wrapped in middleware; no list says where. Forks have their parent's.
    """
    imported_at()
    shiny = sys.modules.get("shiny")
    if not hasattr(shiny, "App"):
        return ()
    kinds = _with_subclasses(shiny.App)  # type: ignore[union-attr]
    # isinstance() would ask objects for their class, and some of them do as they like with that.
    return tuple(each for each in gc.get_objects() if type(each) in kinds)


@functools.cache
def imported_at() -> float:
    """When that was (Unix time, in seconds); the same in all forks of one import."""
    return time.time()


def _with_subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(_with_subclasses, kind.__subclasses__()))
