"""What a site prints is kept, within bounds and closed to others; `logs` shows it, wherever it was printed to."""

import contextlib
import os
import re
import subprocess
import threading

import pytest

from shiny_sticky import site_log
from shiny_sticky.site_log import LAUNCHER, Line, SiteLog
from support.echo_site import echo_site, write_app
from support.real_site import LAUNCHER as PROGRAM
from support.real_site import Site, until
from support.small_disk import small_disk

# Asked for anything, the app prints the words in the file `say`, a line each.
LOUD = """
me_before = me
def me():
    for word in (Path("say").read_text() if os.path.exists("say") else "").split():
        print(word)
    return me_before()
"""
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": "app.py", "workers": 2}}, log={"max_size": "4KB", "keep": 2}) as site:
        write_app(site, LOUD)
        yield site.start()


def say(site: Site, worker: str, *words: str) -> None:
    """Let a worker print words, a line each."""
    (site.folder / "say").write_text(" ".join(words))
    assert site.ask(cookie=f"sticky={worker}").worker == worker
    (site.folder / "say").unlink()


def logs(site: Site, *words: str) -> list[str]:
    done = site.command("logs", *words, str(site.config))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextlib.contextmanager
def following(site: Site, *words: str):
    """The lines that `logs -f` prints, as they come."""
    lines: list[str] = []
    program = subprocess.Popen(
        [*PROGRAM, "logs", "-f", *words, str(site.config)], stdout=subprocess.PIPE, text=True, cwd=site.folder
    )
    reader = threading.Thread(target=lambda: lines.extend(iter(program.stdout.readline, "")), daemon=True)
    reader.start()
    yield lines
    program.terminate()
    program.wait()
    reader.join()
    program.stdout.close()


def test_logs_shows_what_the_launcher_and_the_workers_have_printed_with_times_and_names(site):
    say(site, "app2", "hello")
    until(lambda: "hello" in (site.run_dir / "site.log").read_text(), "it is written")
    shown = logs(site)
    assert any(re.fullmatch(rf"{TIME} app is at http://127.0.0.1:{site.port}/", line) for line in shown)
    assert re.fullmatch(rf"{TIME} app2 +\| hello", shown[-1])
    assert (site.run_dir / "site.log").stat().st_mode & 0o777 == 0o600


def test_logs_of_one_worker_has_nothing_of_others(site):
    say(site, "app1", "one")
    say(site, "app2", "two")
    until(lambda: "two" in (site.run_dir / "site.log").read_text(), "both are written")
    shown = logs(site, "app2")
    assert "two" in shown[-1] and not any("one" in line for line in shown)
    assert [line[-3:] for line in logs(site, "-n", "2", "app")] == ["one", "two"], "an app: all its workers"


def test_logs_follows_and_goes_on_over_rotations_which_keep_to_the_bound(site):
    say(site, "app1", "begin")
    until(lambda: "begin" in (site.run_dir / "site.log").read_text(), "it is written")
    with following(site, "-n", "1", "app1") as lines:
        until(lambda: lines, "the last line of before is shown")
        say(site, "app2", "others")
        words = [f"word{number:04}" for number in range(400)]
        for begin in range(0, 400, 50):
            say(site, "app1", *words[begin : begin + 50])
            until(lambda last=words[begin + 49]: last in lines[-1], "the last one is shown")
    assert [line.split()[-1] for line in lines] == ["begin", *words], "each, once, in order"
    files = sorted(file.name for file in site.run_dir.glob("site.log*"))
    assert files == ["site.log", "site.log.1", "site.log.2"]
    assert all(file.stat().st_size < 4096 + 100 for file in site.run_dir.glob("site.log*"))
    assert len(logs(site, "-n", "150", "app1")) == 150, "rotated ones are read, too"


def test_logs_of_nobody_names_who_there_is(site):
    failed = site.command("logs", "app9", str(site.config))
    assert failed.returncode == 1
    assert "Nothing that app9 has printed is in the logs in " in failed.stderr
    assert "app1" in failed.stderr


def test_where_no_site_has_run_that_is_said(site_of):
    failed = site_of().command("logs", "config.yaml")
    assert failed.returncode == 1
    assert "No site has run in /" in failed.stderr and "Start one: python3 " in failed.stderr


def test_why_a_start_has_failed_can_be_read_later(site_of):
    site = site_of({"app": {"target": "app.py", "workers": 1}})
    (site.folder / "app.py").write_text("import numpie\n")
    assert site.command("config.yaml").returncode == 1
    lines = [Line.parse(line) for line in (site.run_dir / "site.log").read_text().splitlines()]
    assert "ModuleNotFoundError: No module named 'numpie'" in [line.text for line in lines]
    assert lines[-1].text.startswith("App app: ") and lines[-1].is_error


def test_workers_without_a_launcher_keep_to_a_bound_too(site_of):
    site = echo_site(site_of, LOUD, workers=1, log={"max_size": "8KB"})
    site.kill_launcher()
    log = site.run_dir / "workers.log"

    def begun_anew() -> bool:
        say(site, "app1", *["x" * 1000] * 20)
        return "Begun anew" in log.read_text()

    until(begun_anew, "the log does not grow for ever")
    assert logs(site)[-1].endswith(f"without a launcher to take it, is in {log}")


# --- the file alone


def written(tmp_path, **limits) -> tuple[SiteLog, list[str]]:
    told: list[str] = []
    return SiteLog(tmp_path / site_log.NAME, limits.get("max_size"), limits.get("keep", 1), told.append), told


@pytest.mark.parametrize("text", ["", "plain", "a | b ! c", "\x1b[31mred\x1b[0m\r", "é ☃"])
def test_every_line_is_read_as_it_was_written(text):
    for line in (
        Line("2026-11-24 14:30:01", "app2", False, text),
        Line("2026-11-24 14:30:01", LAUNCHER, True, text),
    ):
        assert Line.parse(str(line)) == line


def test_a_text_of_several_lines_passes_for_nobody_elses(tmp_path):
    log, _ = written(tmp_path)
    log.write("one\n2026-11-24 14:30:01 launcher | two\n", "app1")
    log.flush(60)
    lines = [Line.parse(line) for line in (tmp_path / site_log.NAME).read_text().splitlines()]
    assert {line.name for line in lines} == {"app1"} and len(lines) == 3


def test_a_full_disk_is_told_of_once_and_the_log_goes_on_when_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        log, told = written(tmp_path / "disk")
        log.write("before")
        log.flush(60)
        disk.fill()
        for _ in range(100):
            log.write("x" * 1000)
        log.flush(60)
        assert len(told) == 1 and "cannot be written: No space left on device" in told[0]
        disk.free()
        log.write("after")
        log.flush(60)
        os.close(log._descriptor)
        lines = (tmp_path / "disk" / site_log.NAME).read_text().splitlines()
        assert Line.parse(lines[0]).text == "before"
        assert Line.parse(lines[-1]).text == "after"


def test_a_log_that_somebody_removes_is_made_anew(tmp_path):
    log, _ = written(tmp_path)
    log.write("one")
    log.flush(60)
    (tmp_path / site_log.NAME).unlink()
    for text in ("two", "three"):
        log.write(text)
    log.flush(60)
    assert "three" in (tmp_path / site_log.NAME).read_text()
