"""What the settings say of the notices that pages show: of a lost connection, an ended session, a new version."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from shiny_sticky.settings.section import Section
from shiny_sticky.settings.values import Strictly

# What each text says in English stands in worker/notices.js.
TextName = Literal[
    "lost",
    "now",
    "ended",
    "reload",
    "reconnectable",
    "reconnect",
    "reconnecting",
    "leaving",
    "stopping",
    "new_version",
    "switch",
    "close",
]


class NoticeSettings(Section):
    """What pages say of their connection and session; ``notices: false`` turns it off."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "boolean"]})

    enabled: Annotated[bool, Strictly] = True
    """Show a bar in Shiny's pages when there is something to say. `notices: false` says enabled: false."""

    texts: dict[TextName, str] = Field(default_factory=dict)
    """Texts in place of its own: lost, now, ended, reload, reconnectable, reconnect, reconnecting, leaving,
    stopping, new_version, switch, close."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_on_or_off(cls, value: Any) -> Any:
        return {"enabled": value} if isinstance(value, bool) else value
