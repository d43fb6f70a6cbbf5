"""What is said to all visitors stands until it is taken away, whatever is started anew meanwhile."""

import asyncio
import os
import stat

import pytest

from shiny_sticky.errors import StickyError
from shiny_sticky.supervision.announcement import Announcement
from support.real_site import APPS, Site
from support.resuming_client import ResumingClient

TEXT = "Back at 5 pm"


def say(site: Site, *words: str) -> None:
    done = site.command("say", *words, str(site.config))
    assert done.returncode == 0, done.stderr


def shown(site: Site) -> list[str]:
    """What a page shows that is opened now."""

    async def scenario() -> list[str]:
        async with ResumingClient(site.port) as client:
            if (site.run_dir / "announcement").exists():
                await client.until(lambda: client.notices, "it is told")
            await client.until(lambda: len(client.received) > 3, "the session goes on")
            return [notice["text"] for notice in client.notices]

    return asyncio.run(scenario())


def test_what_was_said_stands_under_the_next_launcher_until_it_is_taken_away(site_of):
    site = site_of({"app": {"target": str(APPS / "counting.py"), "workers": 1}}).start()
    say(site, TEXT)
    assert stat.S_IMODE((site.run_dir / "announcement").stat().st_mode) == 0o600
    site.kill_launcher()
    site.start()
    assert site.says(rf'All pages show "{TEXT}"; to take that away: .* say --clear$')
    assert shown(site) == [TEXT]
    say(site, "Soon")
    assert site.stop() == 0
    site.start()
    assert shown(site) == ["Soon"]
    say(site, "")
    assert not (site.run_dir / "announcement").exists()
    assert site.stop() == 0
    site.start()
    assert shown(site) == []
    assert not site.said("All pages show")


def test_what_is_kept_is_read_again(tmp_path):
    for text in ("Grüße <b>\u2028 \n um 5", "x" * 300, "字" * 300):
        Announcement(tmp_path).say(text)
        assert Announcement(tmp_path).text == " ".join(text.split())


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "no text", "too long"])
def test_whatever_stands_in_its_place_it_can_be_begun_with(tmp_path, kind):
    place = tmp_path / "announcement"
    (tmp_path / "other").write_text("of somebody else")
    match kind:
        case "folder":
            (place / "within").mkdir(parents=True)
        case "link":
            place.symlink_to(tmp_path / "other")
        case "fifo":
            os.mkfifo(place)
        case "no text":
            place.write_bytes(b"\xff\x00\n" * 9)
        case "too long":
            place.write_text("y" * 1000)
    found = Announcement(tmp_path)
    assert len(found.text) <= 300
    assert "of somebody else" not in found.text
    if kind == "folder":
        with pytest.raises(StickyError, match=f"{place} cannot be changed: Is a directory"):
            found.say(TEXT)
        assert found.text == ""
    else:
        found.say(TEXT)
        assert Announcement(tmp_path).text == TEXT
    assert (tmp_path / "other").read_text() == "of somebody else"
