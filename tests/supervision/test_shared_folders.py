"""The folder that all processes of an app share: STICKY_SHARED."""

from pathlib import Path

from support.echo_site import echo_site

CODE = "ME['shared'] = os.environ['STICKY_SHARED']"


def test_the_processes_of_an_app_share_a_folder_until_the_last_of_them_has_gone(site_of):
    site = echo_site(site_of, CODE)

    def folders() -> set[str]:
        return {site.ask(cookie=f"sticky={worker}").json["shared"] for worker in ("app1", "app2")}

    (folder,) = folders()
    note = Path(folder, "deep", "note")
    note.parent.mkdir()
    note.touch()
    assert Path(folder).stat().st_mode & 0o777 == 0o700

    site.reload()
    assert folders() == {folder}
    site.kill_launcher()
    site.start()
    assert folders() == {folder}
    assert note.exists(), "old processes may still need it"

    site.stop()
    assert not note.exists()


def test_what_a_killed_site_has_left_there_is_gone_with_the_next_start_and_no_link_is_followed(site_of):
    site = echo_site(site_of, CODE, workers=1)
    folder = Path(site.ask().json["shared"])
    precious = site.folder / "precious" / "file"
    precious.parent.mkdir()
    precious.touch()
    (folder / "note").touch()
    (folder / "link").symlink_to(precious.parent)
    (folder.parent / "other").symlink_to(precious.parent)
    site.kill_everything()

    site.start()
    assert list(folder.iterdir()) == []
    assert precious.exists()
