"""What the demo's processes tell each other, and how it says sizes."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from support.real_site import ROOT

sys.path.insert(0, str(ROOT / "app"))  # as the launcher and shiny run do
from workers import Presence, Process

size = runpy.run_path(str(ROOT / "app" / "app.py"))["size"]


@pytest.fixture
def presence(tmp_path, monkeypatch):
    """One process of app2, as the launcher starts it."""
    monkeypatch.setenv("STICKY_WORKER", "app2")
    monkeypatch.setenv("STICKY_INCARNATION", "app2.k3f9")
    return Presence(tmp_path)


def neighbour(folder: Path, worker: str, pid: int) -> Process:
    """Another process, which has told of itself."""
    process = Process(worker, f"{worker}.aaaa", pid, 1_700_000_000_000, 3)
    (folder / process.to_name()).touch()
    return process


def test_each_process_sees_all_that_run_by_the_order_of_their_workers(presence, tmp_path):
    presence.tell()
    tenth, first = neighbour(tmp_path, "app10", os.getppid()), neighbour(tmp_path, "app1", os.getpid())
    assert presence.all() == [first, presence.me, tenth]
    assert (presence.me.incarnation, presence.me.pid, presence.me.sessions) == ("app2.k3f9", os.getpid(), 0)


def test_sessions_are_counted_in_the_only_file_of_a_process(presence, tmp_path):
    presence.tell()
    for do, sessions in ((presence.session_began, 1), (presence.session_began, 2), (presence.session_ended, 1)):
        do()
        assert [process.sessions for process in presence.all()] == [sessions]
        assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_has_left_is_removed_by_whoever_looks(presence, tmp_path):
    presence.tell()
    ended = subprocess.Popen(["true"])
    ended.wait()
    neighbour(tmp_path, "app1", ended.pid)
    assert presence.all() == [presence.me]
    assert len(list(tmp_path.iterdir())) == 1


def test_sessions_go_on_where_nothing_can_be_told(presence, tmp_path):
    tmp_path.rmdir()
    presence.session_began()
    assert presence.me.sessions == 1
    assert presence.all() == []


def test_without_a_launcher_a_process_knows_of_itself_alone():
    presence = Presence(None)
    presence.session_began()
    assert [process.sessions for process in presence.all()] == [1]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (195_000, "195 KB"),
        (999_700, "1 MB"),
        (5_020_000, "5.02 MB"),
        (2_000_000_000, "2 GB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count, said):
    assert size(count) == said
