"""The last bookmark of a session: how many there are on disk, and what a callback that fails does."""

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiny_sticky.worker import last_bookmark
from shiny_sticky.worker.last_bookmark import LastBookmark
from shiny_sticky.worker.resume.sessions import RESTARTING
from support.waiting import PATIENCE

CLOSED = 1001


class PlayedSession:
    """What is used of Shiny's session; its bookmarks are folders."""

    def __init__(self, folder: Path, problem: Exception | None = None) -> None:
        self.bookmark = self
        self.exclude = ["secret"]
        self.input = SimpleNamespace(_map={"file": lambda: [{"name": "a", "datapath": "a"}], "n": lambda: 1})
        self.excluded: list[list[str]] = []
        self._folder = folder
        self._problem = problem
        self._numbers = itertools.count()

    def on_bookmark(self, callback) -> None:
        self._callback = callback

    def on_ended(self, callback) -> None:
        self.end = callback

    async def get_bookmark_url(self) -> str:
        self.excluded.append(self.exclude)
        if self._problem:
            raise self._problem
        name = f"id{next(self._numbers)}"
        (self._folder / name).mkdir()
        self._callback(SimpleNamespace(dir=self._folder / name))
        return f"http://here/?_state_id_={name}"


class Page:
    """A connection, and what is told on it."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    async def tell(self, content: bytes) -> bool:
        self.told.append(content)
        return True


async def change(last: LastBookmark) -> None:
    """Let something happen in the session, and what follows of it."""
    last.note_change()
    await asyncio.wait_for(last._task, PATIENCE)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    for name in ("PAUSE", "DISK_PAUSE", "SUPERSEDED_SECONDS"):
        monkeypatch.setattr(last_bookmark, name, 0.0)


@pytest.mark.parametrize(("code", "left"), [(RESTARTING, ["id2"]), (CLOSED, [])])
def test_the_last_one_stays_for_a_page_that_may_come_back(tmp_path, code, left):
    async def scenario():
        session, page = PlayedSession(tmp_path), Page()
        carrier = SimpleNamespace(connection=page, ended=None, standing=b"")
        last = LastBookmark(session, carrier)
        for _ in range(3):
            await change(last)
        assert len(page.told) == 3
        assert carrier.standing == page.told[-1] == b'\x09{"query": "_state_id_=id2"}'
        assert session.excluded == [["secret", "file"]] * 3
        assert session.exclude == ["secret"]
        carrier.ended = code
        session.end()

    asyncio.run(scenario())
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_a_callback_that_fails_is_told_once_and_called_no_more(tmp_path, capsys):
    async def scenario():
        session = PlayedSession(tmp_path, ValueError("no such column"))
        last = LastBookmark(session, SimpleNamespace(connection=Page(), ended=None, standing=b""))
        for _ in range(2):
            await change(last)
        assert len(session.excluded) == 1
        assert session.exclude == ["secret"]

    asyncio.run(scenario())
    assert capsys.readouterr().err.count("cannot be kept: ValueError: no such column") == 1


def test_while_its_page_is_away_none_is_made(tmp_path):
    async def scenario():
        session = PlayedSession(tmp_path)
        last = LastBookmark(session, SimpleNamespace(connection=None, ended=None, standing=b""))
        await change(last)
        assert session.excluded == []

    asyncio.run(scenario())
