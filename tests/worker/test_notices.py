"""What a worker has for its pages: scripts behind shiny.js, and notices that also those are told who come later."""

import asyncio
import html
import json
import re

import pytest

from shiny_sticky.settings.model import AppSettings
from shiny_sticky.supervision.release import notice_options
from shiny_sticky.worker.draining import WorkerState
from shiny_sticky.worker.middleware.page_scripts import FOLDER, PageScriptMiddleware
from shiny_sticky.worker.notices import ANNOUNCEMENT, NEW_VERSION, Notice
from shiny_sticky.worker.options import NoticeOptions
from shiny_sticky.worker.resume import wire
from shiny_sticky.worker.resume.connection import Connection
from shiny_sticky.worker.resume.session import Limits
from shiny_sticky.worker.resume.sessions import Sessions
from support import virtual_clock
from support.page import PAGE, served
from support.real_site import ECHO


def served_with(notices: NoticeOptions | None, *pieces: bytes) -> tuple[int, str]:
    return served(lambda app: PageScriptMiddleware(app, notices), *pieces)


@pytest.mark.parametrize("at", [len(PAGE), 20, 50], ids=["whole", "cut before", "cut within"])
def test_one_script_stands_behind_shiny_js_with_the_texts_of_the_app(at):
    texts = {"lost": """ "quoted" 'too' <script> ü """}
    length, page = served_with(NoticeOptions(texts), PAGE[:at], PAGE[at:])
    assert length == len(page.encode())
    assert re.findall('src="([^"]*)"', page) == [
        "lib/shiny-1.8.0/shiny.js",
        f"lib/{FOLDER}/page.js",
        "own.js",
    ]
    (attribute,) = re.findall('data-texts="([^"]*)"', page)
    assert json.loads(html.unescape(attribute)) == texts


@pytest.mark.parametrize("setting", [False, {"enabled": False}])
def test_notices_that_are_turned_off_put_no_texts_into_pages(setting):
    app = AppSettings(target=ECHO, notices=setting)
    assert "data-texts" not in served_with(notice_options(app), PAGE)[1]
    assert "data-texts" in served_with(notice_options(AppSettings(target=ECHO)), PAGE)[1]


class Told:
    """A connection of a page, and the notices that have come on it."""

    def __init__(self) -> None:
        self.notices: list[dict] = []
        self.connection = Connection(asyncio.Event().wait, self._send)

    async def _send(self, message):
        content = message.get("bytes", b"")
        if content.startswith(wire.NOTICE):
            self.notices.append(json.loads(content[1:]))


def test_pages_are_warned_a_minute_before_a_drain_ends_and_learn_what_they_have_missed():
    async def scenario():
        state = WorkerState()
        sessions = Sessions(Limits(300, 1000), 10, state)
        there, away = Told(), Told()
        for page in (there, away):
            session = sessions.new([])
            session.begin(page.connection, "app1.aaaa-1")
        session.lose(away.connection)

        draining = asyncio.create_task(state.notices.warn_before_end(70))
        state.notices.put(Notice(NEW_VERSION))
        state.notices.put(Notice(NEW_VERSION))
        await asyncio.sleep(9)
        assert there.notices == [{"kind": "new_version"}]
        await asyncio.sleep(2)
        assert there.notices[1:] == [{"kind": "leaving", "seconds": 60}]
        assert away.notices == []

        state.notices.put(Notice(ANNOUNCEMENT, text="Back at 5 pm"))
        await asyncio.sleep(29)
        back = Told()
        await sessions.tell_notices(back.connection)
        assert back.notices == [
            {"kind": "new_version"},
            {"kind": "leaving", "seconds": 30},
            {"kind": "announcement", "text": "Back at 5 pm"},
        ]
        await draining

    virtual_clock.run(scenario())
