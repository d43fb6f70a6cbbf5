"""What the settings say of the size and age of an app's processes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shiny_sticky.settings.section import Section
from shiny_sticky.settings.values import Size, SizeSchema, Strictly


class RecycleSettings(Section):
    """When a worker is replaced for its age or size; its sessions go on, as in a deploy."""

    max_memory: Annotated[Size, Field(ge=1), SizeSchema] | None = None
    """Resident memory (RSS), such as 2GB (of 1024 MB); null is no limit."""

    lifetime: Annotated[float, Field(gt=0)] | None = None
    """Seconds since it was started; null is no limit."""

    sessions_served: Annotated[int, Strictly, Field(ge=1)] | None = None
    """Sessions that it has served in all; null is no limit."""


class LimitSettings(Section):
    """What a worker may take, with the programs that it starts; kept where the launcher may make cgroups."""

    memory: Annotated[Size, Field(ge=1), SizeSchema] | None = None
    """Memory, such as 1GB; a worker that needs more is ended by the system, and replaced. null is no limit."""

    cpu: Annotated[float, Field(gt=0)] | None = None
    """Cores, such as 1.0 or 0.5; a worker that wants more gets its turns later. null is no limit."""
