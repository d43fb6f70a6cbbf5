"""nginx's logs do not outgrow the disk: they are rotated by size, and no line is lost."""

import contextlib
import os
import re
import shutil
import sys

import pytest

from shiny_sticky import log_rotation
from support.copies import copy_packages, copy_project
from support.real_site import ECHO, Site, until

LOGS = ["nginx-access.log", "nginx-error.log"]


def rotating_site(site_of, **log) -> Site:
    return site_of({"app": {"target": ECHO, "workers": 1}}, nginx={"log": log}).start()


def asked(site: Site) -> list[int]:
    """The numbers of the requests in the access log and the rotated ones, oldest first."""
    text = ""
    for file in sorted(site.run_dir.glob("nginx-access.log*"), key=lambda file: file.name, reverse=True):
        with contextlib.suppress(FileNotFoundError):  # it is being renamed
            text += file.read_text()
    return [int(number) for number in re.findall(r"GET /number/(\d+) ", text)]


def test_grown_logs_are_rotated_and_nginx_goes_on_with_new_ones(site_of):
    site = rotating_site(site_of, max_size="16KB", keep=2)
    access, errors = (site.run_dir / name for name in LOGS)
    with errors.open("a") as stream:
        stream.write("an error of nginx's\n" * 1000)
    sent = 0
    while not (site.run_dir / "nginx-access.log.1").exists():
        assert site.ask(f"/number/{sent}").status == 200
        sent += 1
    until((site.run_dir / "nginx-error.log.1").exists, "the other one is rotated, too")
    for _ in range(20):
        site.ask(f"/number/{sent}")
        sent += 1

    def writes_to_the_new_one() -> bool:
        nonlocal sent
        site.ask(f"/number/{sent}")
        sent += 1
        return "/number/" in access.read_text()

    until(writes_to_the_new_one, "nginx writes to the new one")
    until(lambda: sorted(asked(site)) == list(range(sent)), "every request is in one of them, once")
    assert "an error of nginx's" not in errors.read_text()
    mode = (site.run_dir / "nginx-access.log.1").stat().st_mode
    assert access.stat().st_mode == mode, "it is closed to the same users"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_nginx_of_another_users_goes_on_with_new_logs(site_of):
    app = {"target": "app.py", "workers": 1, "python": "/usr/bin/python3", "env": {"PYTHONPATH": "packages"}}
    site = site_of({"app": app}, user="nobody", nginx={"log": {"max_size": "16KB"}})
    shutil.copy(ECHO, site.folder / "app.py")
    copy_packages(site.folder / "packages", "uvicorn")
    site.folder.chmod(0o755)
    site.start(program=[sys.executable, str(copy_project(site.folder / "project"))])
    with (site.run_dir / "nginx-access.log").open("a") as stream:
        stream.write("somebody was here\n" * 1000)
    until((site.run_dir / "nginx-access.log.1").exists, "it is rotated")
    until(lambda: site.ask("/number/1").status == 200 and asked(site), "nginx writes")
    access = site.run_dir / "nginx-access.log"
    until(lambda: site.ask("/number/1").status == 200 and "/number/1" in access.read_text(), "to the new one")


@pytest.mark.slow
def test_no_more_is_kept_than_asked_for(site_of):
    site = rotating_site(site_of, max_size="4KB", keep=1)

    def newest_kept() -> int:
        with contextlib.suppress(FileNotFoundError, IndexError):
            return int(re.findall(r"/number/(\d+) ", (site.run_dir / "nginx-access.log.1").read_text())[0])
        return 0

    sent = 0
    while newest_kept() < 100:  # after the first rotation it begins with 0
        site.ask(f"/number/{sent}")
        sent += 1
    assert not (site.run_dir / "nginx-access.log.2").exists()
    assert min(asked(site)) > 0, "the oldest are gone"


def test_null_leaves_the_logs_to_others(site_of):
    site = rotating_site(site_of, max_size=None)
    with (site.run_dir / "nginx-error.log").open("a") as stream:
        stream.write("an error of nginx's\n")
    assert not log_rotation.rotate_grown([site.run_dir / "nginx-error.log"], None, 3)
    assert "an error of nginx's" in (site.run_dir / "nginx-error.log").read_text()


# --- the files alone


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_older_logs_move_up_and_the_oldest_goes(tmp_path, keep):
    log = tmp_path / "nginx-access.log"
    for number in range(5):
        log.write_text(f"log {number}")
        log.chmod(0o640)
        assert log_rotation.rotate_grown([log], 5, keep)
        assert log.read_text() == ""
        assert log.stat().st_mode & 0o777 == 0o640
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert found == {log.name: ""} | {f"{log.name}.{age}": f"log {5 - age}" for age in range(1, keep + 1)}


def test_small_and_missing_logs_are_left_alone(tmp_path):
    (tmp_path / "nginx-error.log").write_text("few")
    assert not log_rotation.rotate_grown([tmp_path / name for name in LOGS], 100, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["nginx-error.log"]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_a_log_that_others_have_open_is_copied_and_emptied(tmp_path, keep):
    """As those do who cannot be told to open it anew: workers without a launcher."""
    log = tmp_path / "workers.log"
    with log.open("ab", buffering=0) as theirs:
        log.chmod(0o600)
        for number in range(5):
            theirs.write(f"log {number}".encode())
            log_rotation.copy_grown(log, 5, keep)
            assert log.read_text() == ""
    rotated = log_rotation.youngest_first(log)[1:]
    assert [file.read_text() for file in rotated] == [f"log {4 - age}" for age in range(keep)]
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    log_rotation.copy_grown(tmp_path / "missing.log", 5, keep)
