"""Hands a session's uploaded files to the next one of its page: where Shiny comes by files, and gives them up."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from .resume.connection import say
from .resume.middleware import CARRIER
from .resume.session import Session as Carrier
from .resume.sessions import COMES_BACK
from .uploads import Uploads, name_of

# The kind of input by which reconnect.js says whose files a new session takes over: by the page's secret.
KIND = "shiny-sticky.uploads"


def watch(uploads: Uploads) -> bool:
    """Let Shiny's sessions keep their files, and take over those of earlier ones.

    Args:
        uploads: of this process.

    Returns:
        Whether this is a Shiny in which that can be done; else it is left as it is.
    """
    try:
        from shiny.input_handler import input_handlers
        from shiny.session._session import AppSession

        begin: Any = AppSession._init_message_handlers
    except (ImportError, AttributeError):
        return False
    handover = UploadHandover(uploads)

    @functools.wraps(begin)
    def begin_noting(session: Any) -> None:
        begin(session)
        handover.listen(session)

    AppSession._init_message_handlers = begin_noting  # type: ignore[method-assign]
    input_handlers[KIND] = handover.take_over
    return True


class UploadHandover:
    """Notes what sessions get uploaded, and gives it to those that follow.

    Args:
        uploads: of this process.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._keeping: weakref.WeakSet[Any] = weakref.WeakSet()  # sessions that have files

    def listen(self, session: Any) -> None:
        """Note each upload of a Shiny session."""
        end, _ = session._message_handlers["uploadEnd"]

        async def upload_end(job_id: str, input_id: str) -> None:
            await end(job_id, input_id)
            self._note(session, input_id)

        session.set_message_handler("uploadEnd", upload_end)

    def take_over(self, secret: Any, _: Any, session: Any) -> None:
        """Give a session the files of the one before it, if that is its page's: an input handler of Shiny's."""
        from shiny.bookmark._serializers import serializer_file_input
        from shiny.module import ResolvedId

        carrier = _carrier(session)
        if carrier is None or not isinstance(secret, str):
            return
        found = self._uploads.take_over(name_of(secret, carrier.user), _name(carrier))
        for input_id, files in found.items():
            session.input[ResolvedId(input_id)]._set(files)
            session.input.set_serializer(input_id, serializer_file_input)
        if found:
            self._forget_at_end(session, carrier)

    def _note(self, session: Any, input_id: str) -> None:
        """Keep what a file input has got."""
        from shiny.module import ResolvedId
        from shiny.reactive import isolate

        carrier = _carrier(session)
        if carrier is None:
            return
        with isolate():
            files = session.input[ResolvedId(input_id)]()
        self._forget_at_end(session, carrier)
        try:
            self._uploads.note(_name(carrier), input_id, files)
        except OSError as error:
            say(f"A page's files are not kept for a later session: {error}")

    def _forget_at_end(self, session: Any, carrier: Carrier) -> None:
        """Remove a session's files when it ends, unless its page may come back."""
        if session in self._keeping:
            return
        self._keeping.add(session)

        def forget() -> None:
            if carrier.ended not in COMES_BACK:
                self._uploads.forget(_name(carrier))

        session.on_ended(forget)


def _carrier(session: Any) -> Carrier | None:
    """What carries a Shiny session; None if its page does not speak the protocol."""
    opening = session.http_conn.scope.get(CARRIER)
    return None if opening is None else opening.session


def _name(carrier: Carrier) -> str:
    """By which the files of a session are kept."""
    return name_of(carrier.page_secret, carrier.user)
