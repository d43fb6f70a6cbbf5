"""Uploaded files outlive their process: who finds them, and who does not."""

import os
from pathlib import Path

import pytest

from shiny_sticky.worker import uploads
from shiny_sticky.worker.uploads import Uploads, name_of

OLD, NEW = name_of("old", [b"user: ann"]), name_of("new", [b"user: ann"])


@pytest.fixture
def running():
    """The processes that run."""
    return {"app1.aaaa", "app2.bbbb"}


@pytest.fixture
def processes(tmp_path, running):
    return [Uploads(tmp_path / "kept", name, running.__contains__) for name in sorted(running)]


def uploaded(tmp_path: Path, name: str, text: str) -> dict:
    """A file as Shiny describes it."""
    path = tmp_path / name
    path.write_text(text)
    return {"name": f"my {name}", "size": len(text), "type": "text/plain", "datapath": str(path)}


def texts(files: list[dict]) -> dict[str, str]:
    return {file["name"]: Path(file["datapath"]).read_text() for file in files}


def test_the_next_session_has_all_files_once_though_shiny_has_removed_them(tmp_path, processes):
    old, new = processes
    old.note(OLD, "one", [uploaded(tmp_path, "a.txt", "replaced")])
    old.note(OLD, "one", [uploaded(tmp_path, "b.txt", "b"), uploaded(tmp_path, "c.csv", "c")])
    old.note(OLD, "two", [uploaded(tmp_path, "d", "d")])
    for file in "a.txt", "b.txt", "c.csv", "d":
        (tmp_path / file).unlink()
    found = new.take_over(OLD, NEW)
    assert {name: texts(files) for name, files in found.items()} == {
        "one": {"my b.txt": "b", "my c.csv": "c"},
        "two": {"my d": "d"},
    }
    assert [Path(file["datapath"]).suffix for file in found["one"]] == [".txt", ".csv"]
    assert len(list(tmp_path.glob("kept/*/*/*"))) == 4, "three files and their record"
    assert new.take_over(OLD, NEW) == old.take_over(OLD, "other") == {}

    again = old.take_over(NEW, "third")
    assert texts(again["two"]) == {"my d": "d"}
    old.forget("third")
    assert list(tmp_path.glob("kept/*/*")) == []


def test_neither_another_user_nor_another_page_finds_them(tmp_path, processes):
    old, new = processes
    old.note(OLD, "one", [uploaded(tmp_path, "a.txt", "a")])
    for secret, user in (
        ("old", b"user: eve"),
        ("odd", b"user: ann"),
        ("../old", b"user: ann"),
        ("*", b"user: ann"),
    ):
        assert new.take_over(name_of(secret, [user]), NEW) == {}
    assert texts(new.take_over(OLD, NEW)["one"]) == {"my a.txt": "a"}


def test_on_another_file_system_they_are_there_as_long_as_shiny_s_own(tmp_path, processes, monkeypatch):
    old, new = processes

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    kept, lost = uploaded(tmp_path, "a.txt", "a"), uploaded(tmp_path, "b.txt", "b")
    old.note(OLD, "one", [kept])
    old.note(OLD, "two", [lost, kept])
    (tmp_path / "b.txt").unlink()
    assert new.take_over(OLD, NEW) == {"one": [kept]}


def test_what_no_page_has_come_back_for_is_removed_an_hour_after_its_process(
    tmp_path, processes, running, monkeypatch
):
    old, new = processes
    old.note(OLD, "one", [uploaded(tmp_path, "a.txt", "a")])
    running.remove("app1.aaaa")
    new.note(NEW, "one", [uploaded(tmp_path, "b.txt", "b")])
    new.note(NEW, "one", [uploaded(tmp_path, "b.txt", "b")])
    assert (tmp_path / "kept" / "app1.aaaa" / OLD).exists()
    monkeypatch.setattr(uploads, "KEEP_SECONDS", -1)
    new.note(NEW, "one", [uploaded(tmp_path, "b.txt", "b")])
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["app2.bbbb"]
