"""The Shiny apps that an import has made: the one that is served, and those inside of other apps."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

# What was found, by id; and when that was last looked for (Unix time, in seconds).
_apps: dict[int, Any] = {}
_imported_at = 0.0


def collect() -> None:
    """Look for apps: after the import, and before each ``gc.freeze``, which hides what there is.

    An app may be mounted in another one, or wrapped in middleware; no list says where.
    """
    global _imported_at
    _imported_at = time.time()
    shiny = sys.modules.get("shiny")
    if hasattr(shiny, "App"):
        kinds = _with_subclasses(shiny.App)  # type: ignore[union-attr]
        # isinstance() would ask objects for their class, and some of them do as they like with that.
        _apps.update({id(each): each for each in gc.get_objects() if type(each) in kinds})


def imported() -> tuple[Any, ...]:
    """Every ``shiny.App`` that was found. Forks have their parent's, and what they have imported themselves."""
    return tuple(_apps.values())


def imported_at() -> float:
    """When the import was done (Unix time, in seconds); the same in all forks of one that they share."""
    return _imported_at


def _with_subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(_with_subclasses, kind.__subclasses__()))
