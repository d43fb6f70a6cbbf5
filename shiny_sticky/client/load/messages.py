"""What a message of Shiny's websocket brings, bare as open source servers send it, or in SockJS as others do."""

from __future__ import annotations

import json
import re
from typing import Any

# A message with one of these says what the server is about, and answers nothing.
ABOUT_WORK = ("busy", "progress", "recalculating")

# What Shiny Server and Connect put before a message: its number, the app's (0), and that it is one.
SOCKJS_MESSAGE = re.compile(r"(?:[0-9A-F*]+#)?(\d+)\|m\|(.*)", re.DOTALL)


def contents(text: str) -> list[dict[str, Any]]:
    """The objects in a message from either side.

    Args:
        text: of the message.

    Returns:
        As many as are in it: none in SockJS's own messages, else one; SockJS may send several at once.
    """
    if text.startswith(("a[", "[")):
        packed = _loaded(text.removeprefix("a"))
        inner = [SOCKJS_MESSAGE.fullmatch(part) for part in packed or [] if isinstance(part, str)]
        found = [_loaded(match[2]) for match in inner if match]
    else:
        found = [_loaded(text)]
    return [each for each in found if isinstance(each, dict)]


def brings(text: str) -> frozenset[str]:
    """What a message from the server brings, which is what it is known by, whatever came before it.

    Args:
        text: of the message.

    Returns:
        Such as ``output plot``, ``input year`` (an input's own update), ``response 3`` (by its tag),
        ``custom ping``, or ``modal``. Nothing if it is one that need not come, such as that the server is busy.
    """
    if text == "o":
        return frozenset({"the connection"})
    return frozenset(mark for content in contents(text) for mark in _marks(content))


def _marks(content: dict[str, Any]) -> set[str]:
    if any(key in content for key in ABOUT_WORK):
        return set()
    return {mark for key, value in content.items() for mark in _marks_of(key, value)}


def _marks_of(key: str, value: Any) -> list[str]:
    """What a part of a message brings.

    Args:
        key: of the part.
        value: and what stands there.
    """
    match key:
        case "values" | "errors":
            return [f"output {name}" for name in _dict(value)]
        case "inputMessages":
            return [f"input {_dict(each).get('id')}" for each in value or []]
        case "custom":
            return [f"custom {name}" for name in _dict(value) if name != "reactlog"]
        case "response":
            return [f"response {_dict(value).get('tag')}"]
    return [key]


def comes_once(mark: str) -> bool:
    """Whether something comes only once in a session: its beginning, or the response with a tag."""
    return mark == "config" or mark.startswith("response ")


def errors(text: str) -> frozenset[str]:
    """The outputs that a message says have failed; one that only waits for an input (`req`) has an empty text."""
    found = (_dict(content.get("errors")) for content in contents(text))
    return frozenset(name for each in found for name, error in each.items() if _dict(error).get("message"))


def session_id(text: str) -> str | None:
    """The id of the session that a message begins; None if it does not."""
    for content in contents(text):
        if found := _dict(content.get("config")).get("sessionId"):
            return str(found)
    return None


def upload(text: str) -> tuple[str, str] | None:
    """Job and address of an upload, if a message is the answer to its announcement."""
    for content in contents(text):
        value = _dict(_dict(content.get("response")).get("value"))
        if "jobId" in value:
            return str(value["jobId"]), str(value.get("uploadUrl", ""))
    return None


def is_kept(text: str) -> bool:
    """Whether a message belongs into a recording: the answer to something, or what a visitor has done."""
    if text == "o":
        return True
    if text == "h" or re.match(r'a?\["ACK|c\[', text):
        return False
    found = contents(text)
    if not found:  # SockJS's own, such as that a channel is opened
        return text.startswith("[")
    return any("method" in content or _marks(content) for content in found)


def asked(text: str) -> str:
    """What a message from the page asks for, in a few words: the inputs that it sets, or a method's name."""
    for content in contents(text):
        method = str(content.get("method", ""))
        if method != "update":
            return method
        names = [name.partition(":")[0] for name in _dict(content.get("data"))]
        return ", ".join(name for name in names if not name.startswith(".clientdata")) or "the page's own"
    return "the connection"


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _dict(value: Any) -> dict[str, Any]:
    """The value if it is an object; R sends an empty list for an empty one."""
    return value if isinstance(value, dict) else {}
