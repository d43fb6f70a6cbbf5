"""Folders that the workers' user may change while root works in them, and places that are not root's alone."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from shiny_sticky.foreign_folders import who_may_change
from shiny_sticky.settings.users import Owner
from shiny_sticky.supervision.rundir import RunDir
from support.other_user import USER, hostile_site, needs_root, open_site, program, uid
from support.real_site import ECHO

# What Python tells of itself before it does it: each is a moment at which somebody else may do something.
MOMENTS = ("open", "os.scandir", "os.listdir", "os.remove")

# Beyond what a walk may open or call in each other.
DEEP = 3000


class Meddler:
    """Does something at the n-th moment of a walk through folders."""

    def __init__(self) -> None:
        self.do, self.left = None, -1
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _: object) -> None:
        if self.do is not None and event in MOMENTS:
            self.left -= 1
            if self.left < 0:
                do, self.do = self.do, None
                do()


@pytest.fixture(scope="module")
def meddler():
    return Meddler()


def test_a_folder_that_becomes_a_link_in_mid_walk_leads_nowhere(tmp_path, meddler):
    victim = tmp_path / "victim"
    victim.mkdir()
    names = ["one", "two", "three"]
    for moment in range(40):
        run_dir = RunDir(tmp_path / f"run{moment}", Owner("me", "/", os.geteuid(), os.getegid(), False, None))
        folder = run_dir.cache / "a" / "bc"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
            (victim / name).touch()

        def swap(folder=folder):
            folder.rename(folder.with_name("away"))
            folder.symlink_to(victim)

        meddler.do, meddler.left = swap, moment
        run_dir.clear_cache()
        assert sorted(file.name for file in victim.iterdir()) == sorted(names), f"at moment {moment}"
        if meddler.do is not None:  # the walk has fewer moments
            meddler.do = None
            assert not list(folder.iterdir()), "and if nobody meddles it is emptied"
            return
    raise AssertionError("more moments than were tried")


@needs_root
def test_what_another_user_puts_into_the_cache_costs_root_nothing(site_of):
    """Links, folders without end, and names that are not nginx's: deploys go on, and nothing else is deleted."""
    code = f"""
cache = {{}}
answer_before = answer
async def answer(scope, receive, send):
    if b"meddle" in scope["query_string"]:
        asked = dict(parse_qsl(scope["query_string"].decode()))
        os.chdir(asked["meddle"])
        os.symlink(asked["victim"], "link")
        os.mkdir("a")
        os.symlink(asked["victim"], "a/bc")
        open("file", "w").close()
        for _ in range({DEEP}):
            os.mkdir("deep")
            os.chdir("deep")
    await answer_before(scope, receive, send)
"""
    site = hostile_site(site_of, code)
    victim = site.folder / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    site.start(program=program(site))
    cache = site.run_dir / "cache"
    assert site.ask(f"/?meddle={cache}&victim={victim}").status == 200
    site.reload()
    assert not site.said("cannot be emptied")
    assert not (cache / "file").exists()
    assert (victim / "kept").exists()
    assert site.stop() == 0
    site.start(program=program(site))
    assert (victim / "kept").exists()
    assert site.ask().status == 200
    assert site.stop() == 0
    subprocess.run(["rm", "-rf", cache], check=True)  # Python's own does not go so deep


def test_a_run_dir_that_is_a_link_is_refused(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1}})
    there = site.folder / "there"
    there.mkdir()
    site.run_dir.symlink_to(there)
    failed = site.command(str(site.config))
    assert failed.returncode == 1
    assert f"run_dir {site.run_dir} is a link; name the folder that it leads to: {there}" in failed.stderr
    assert list(there.iterdir()) == []


@needs_root
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("key", ["run_dir", "nginx.conf"])
def test_a_place_below_another_users_folder_is_refused(site_of, key, check):
    site = open_site(site_of, user=USER)
    theirs = site.folder / "theirs"
    (theirs / "below").mkdir(parents=True)
    os.chown(theirs, uid(), -1)
    if key == "run_dir":
        site.settings["run_dir"] = str(theirs / "below" / "run")
    else:
        site.settings["nginx"]["conf"] = str(theirs / "below" / "sticky.conf")
    site.write()
    failed = site.command(*["--check"] * check, str(site.config), program=program(site))
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{key}: {theirs}/below/")
    assert f"because {theirs} belongs to another user (uid {uid()})" in failed.stderr
    assert list((theirs / "below").iterdir()) == []


@needs_root
def test_who_may_change_a_place():
    nobody, group = uid(), pwd.getpwnam(USER).pw_gid
    base = Path("/tmp") / f"st-way-{os.getpid()}"
    base.mkdir(mode=0o755)
    try:
        closed, link, place = base / "closed", base / "link", base / "closed" / "run"
        closed.mkdir(mode=0o755)
        assert not who_may_change(place, group), "/tmp is everybody's, but each may change their own only"
        link.symlink_to(closed)
        assert not who_may_change(link / "run", group)
        closed.chmod(0o777)
        assert who_may_change(place, group) == f"{closed} may be changed by everybody"
        assert who_may_change(link / "run", group) == f"{closed} may be changed by everybody"
        closed.chmod(0o1777)
        assert not who_may_change(place, group)
        closed.chmod(0o775)
        assert not who_may_change(place, group), "the group is root's"
        os.chown(closed, 0, group)
        assert who_may_change(place, group) == f"{closed} may be changed by the group {group}"
        closed.chmod(0o755)
        assert not who_may_change(place, group)
        os.chown(link, nobody, -1, follow_symlinks=False)
        assert who_may_change(link / "run", group) == f"{link} belongs to another user (uid {nobody})"
        (base / "round").symlink_to("round")
        with pytest.raises(OSError, match="symbolic links"):
            who_may_change(base / "round" / "run", group)
    finally:
        for path in (base / "round", base / "link"):
            path.unlink(missing_ok=True)
        for path in (base / "closed", base):
            path.rmdir()


@needs_root
def test_a_settings_file_that_is_another_users_is_told(site_of):
    site = hostile_site(site_of, "")
    site.start(program=program(site))
    assert not site.said("decides what root runs")
    assert site.stop() == 0
    os.chown(site.config, uid(), -1)
    site.start(program=program(site))
    (line,) = site.said("decides what root runs")
    assert line == (
        f"Whoever may change {site.config} decides what root runs, "
        f"and {site.config} belongs to another user (uid {uid()})."
    )


@needs_root
def test_a_run_dir_into_which_the_users_group_could_put_links_is_refused(site_of):
    site = open_site(site_of, user=USER)
    kept = site.folder / "kept"
    kept.touch(mode=0o644)
    site.run_dir.mkdir()
    (site.run_dir / "nginx-error.log").symlink_to(kept)
    os.chown(site.run_dir, 0, pwd.getpwnam(USER).pw_gid)
    site.run_dir.chmod(0o770)
    failed = site.command(str(site.config), program=program(site))
    assert failed.returncode == 1
    assert f"{site.run_dir} may be changed by the group" in failed.stderr
    assert kept.stat().st_mode & 0o777 == 0o644
