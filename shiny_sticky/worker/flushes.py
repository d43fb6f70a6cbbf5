"""Shiny's flush of a session to which nothing has happened, without the work.

After each change of anything, Shiny flushes all sessions of the process, one by one. For those in which nothing has
changed that takes about 20 microseconds each, to make a message that says nothing; the more sessions a process has,
the more of its time goes there. Such a flush is seen here to be one, and over in a microsecond.
"""

from __future__ import annotations

import functools
from typing import Any

# Where a websocket's scope has its Page.
PAGE = "shiny_sticky.page"

# What AppSession._flush of Shiny 1.0 to 1.8 uses, that of the later ones also for bookmarks.
# One that uses something else may do something else.
USED = {
    "session_context",
    "_flush_callbacks",
    "_flushed_callbacks",
    "invoke",
    "_outbound_message_queues",
    "values",
    "input_messages",
    "errors",
    "_send_message",
    "reset",
}
USED_FOR_BOOKMARKS = {"bookmark", "_restore_context", "flush_pending"}


class Page:
    """What is known of a session's page.

    Attributes:
        settled: a flush is the last that has gone over its websocket, so that an empty one would change nothing.
    """

    def __init__(self) -> None:
        self.settled = False


def shorten() -> bool:
    """Let Shiny flush no more sessions than there is something to flush for.

    Returns:
        Whether this is a Shiny of which that is known to be the same; else it is left as it is.
    """
    try:
        from shiny._utils import AsyncCallbacks
        from shiny.session._session import AppSession

        flush = AppSession._flush
        uses = set(flush.__code__.co_names)
    except (ImportError, AttributeError):
        return False
    if not (uses - USED_FOR_BOOKMARKS == USED and hasattr(AsyncCallbacks, "count")):
        return False
    AppSession._flush = _shortened(flush)  # type: ignore[method-assign]
    return True


def _shortened(flush: Any) -> Any:
    """The method of Shiny's sessions that flushes one, if there is anything to do."""

    @functools.wraps(flush)
    async def flush_what_there_is(session: Any) -> None:
        if is_idle(session):
            _note_restored(session)
        else:
            await flush(session)

    return flush_what_there_is


def _note_restored(session: Any) -> None:
    """What inputs have taken of a bookmark is taken with each flush."""
    bookmark = getattr(session, "bookmark", None)  # older Shinys have none
    if bookmark is not None and bookmark._restore_context:
        bookmark._restore_context.flush_pending()


def is_idle(session: Any) -> bool:
    """Whether a flush of a Shiny session would do nothing but tell its page so, which knows.

    Args:
        session: a ``shiny.session._session.AppSession``.
    """
    page = session.http_conn.scope.get(PAGE)
    if page is None or not page.settled:
        return False
    queues = session._outbound_message_queues
    if queues.values or queues.errors or queues.input_messages:
        return False
    if session._flush_callbacks.count() or session._flushed_callbacks.count():
        return False
    return not session._debug  # which prints all that is sent
