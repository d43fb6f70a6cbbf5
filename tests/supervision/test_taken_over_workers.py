"""Workers that a launcher has left running hear what the next one has to say, and nobody else speaks to them."""

import asyncio
import pwd

import pytest

from shiny_sticky.settings.users import Owner
from shiny_sticky.supervision.inbox import inbox_of, leave_message
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.worker.protocol import Superseded
from support.copies import copy_packages
from support.other_user import USER, hostile_site, needs_root, program, told_to_other_user
from support.real_site import APPS, Site, until
from support.resuming_client import ResumingClient

TEXT = "Back at 5 pm"


def said(text: str) -> dict:
    return {"kind": "announcement", "text": text}


async def is_told(site: Site, client: ResumingClient) -> None:
    """A session of a worker of an earlier launcher is told what is said, and of the next deploy."""
    for words, told in ((["say", TEXT], said(TEXT)), (["say", "--clear"], said("")), (["reload"], None)):
        done = await asyncio.to_thread(site.command, *words, str(site.config))
        assert done.returncode == 0, done.stderr
        told = told or {"kind": "new_version"}
        await client.until(lambda told=told: client.notices[-1:] == [told], f"it is told {told}")


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_workers_of_a_launcher_that_was_killed_hear_of_later_deploys_and_announcements(site_of, preload):
    app = {"target": str(APPS / "counting.py"), "workers": 1, "preload": preload}
    site = site_of({"app": app}).start()
    old = site.incarnation("app1")

    async def scenario():
        async with ResumingClient(site.port) as client:
            assert client.session.startswith(f"{old}-")
            for _ in range(2):  # and so do those of the one before
                site.kill_launcher()
                await asyncio.to_thread(site.start)
            await is_told(site, client)
            assert client.notices == [said(TEXT), said(""), {"kind": "new_version"}]

    asyncio.run(scenario())
    until(lambda: not (site.run_dir / f"{old}.pid").exists(), "it leaves with its last session")
    assert site.stop() == 0
    site.check_nothing_left()


def test_what_an_earlier_launcher_could_not_say_any_more_is_said(site_of):
    site = site_of({"app": {"target": str(APPS / "counting.py"), "workers": 1}}).start()

    async def scenario():
        async with ResumingClient(site.port) as client:
            site.kill_launcher()
            (site.run_dir / "announcement").write_text(TEXT)
            await asyncio.to_thread(site.start)
            await client.until(lambda: client.notices == [said(TEXT)], "it is told")

    asyncio.run(scenario())


@needs_root
def test_another_users_workers_may_hear_it_and_not_say_it(site_of):
    site = hostile_site(site_of, "")
    copy_packages(site.folder / "packages", "websockets")
    site.start(program=program(site))
    inbox = site.run_dir / f"{site.incarnation('app1')}.inbox"

    async def scenario():
        async with ResumingClient(site.port) as client:
            site.kill_launcher()
            await asyncio.to_thread(site.start, program=program(site))
            await is_told(site, client)
            assert "denied" in told_to_other_user(lambda: inbox.open("a"))
            assert "denied" in told_to_other_user(inbox.unlink)
            assert told_to_other_user(inbox.read_text) == ""

    asyncio.run(scenario())


def test_what_stands_in_the_place_of_an_inbox_is_left_alone(tmp_path):
    user = pwd.getpwnam(USER)
    run_dir = RunDir(tmp_path, Owner(USER, "/", user.pw_uid, user.pw_gid, False, None))
    (tmp_path / "other").write_text("")
    inbox_of(run_dir, "app1.aaaa").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        leave_message(run_dir, "app1.aaaa", Superseded())
    assert (tmp_path / "other").read_text() == ""
