"""What the settings say of pages whose process is gone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator


def _as_word(value: Any) -> Any:
    """Take YAML's false, which is how it reads `off`, for the word."""
    return "off" if value is False else value


Reconnect = Annotated[Literal["inputs", "ask", "off"], BeforeValidator(_as_word)]
