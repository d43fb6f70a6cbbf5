"""Nobody reads what the launcher prints, or the launcher is stopped: all serves on, and can be asked and ended."""

import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support.echo_site import echo_site, write_app
from support.real_site import LAUNCHER, Site, answers, until

# Asked for `/?print=...` while there is a file `loud`, the app prints as many lines as that says, numbered.
LOUD = """
me_before = me
def me():
    file = Path("loud")
    if file.exists():
        for number in range(int(file.read_text() or 0)):
            print(f"line {number} " + "x" * 9990)
        file.unlink()
    return me_before()
"""
FLOOD = 2500  # lines of ten kilobytes: more than every buffer on their way


def print_lines(site: Site, lines: int, worker: str = "app1") -> None:
    """Let a worker print; returns once it has, and answers."""
    (site.folder / "part").write_text(str(lines))
    (site.folder / "part").rename(site.folder / "loud")
    assert site.ask(cookie=f"sticky={worker}").worker == worker


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"line (\d+) x{9990}", text)]


class Unread:
    """A launcher whose output goes to a pipe that is read only when the test says so."""

    def __init__(self, site_of, **app) -> None:
        self.site = site_of({"app": {"target": "app.py", "workers": 2, **app}})
        write_app(self.site, LOUD)
        self.site.launcher = subprocess.Popen(
            [*LAUNCHER, str(self.site.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.site.folder,
            env=self.site.env,
        )
        while not self.site.launcher.stdout.readline().startswith("nginx "):
            pass  # the last line of the table
        self.lines: list[str] = []

    def read(self) -> None:
        """Read on, to the end, in the background."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.site.launcher.stdout:
            self.lines.append(line)

    def said(self, pattern: str) -> list[str]:
        """What a pattern finds in each line."""
        return [match[1] for line in self.lines if (match := re.search(pattern, line))]


@pytest.fixture
def unread(site_of):
    return Unread(site_of)


def test_while_nobody_reads_the_output_workers_print_and_the_launcher_answers_and_supervises(unread):
    site = unread.site
    for worker in ("app1", "app2"):
        print_lines(site, FLOOD, worker)
    assert len(site.status()["workers"]) == 2
    old = site.kill("app1")
    site.back("app1", old)


def test_what_was_dropped_is_counted_and_what_comes_later_is_printed(unread):
    site = unread.site
    print_lines(site, FLOOD)
    site.status()
    unread.read()
    (dropped,) = until(lambda: unread.said(r"(\d+) lines dropped here"), "the launcher says what is missing")
    before = len(unread.lines)
    print_lines(site, 1)
    until(lambda: numbers("".join(unread.lines[before:])), "what is printed then arrives")
    printed = numbers("".join(unread.lines[:before]))
    assert printed == list(range(len(printed))), "the first ones are there, in order"
    assert len(printed) + int(dropped) == FLOOD


def test_sigterm_ends_a_launcher_whose_output_nobody_reads(unread):
    site = unread.site
    print_lines(site, FLOOD)
    site.launcher.terminate()
    assert site.launcher.wait(60) == 0
    site.check_nothing_left()


def test_a_launcher_that_was_given_no_output_serves(site_of):
    site = site_of()
    site.launcher = subprocess.Popen(
        ["sh", "-c", 'exec "$0" "$@" >&- 2>&-', *LAUNCHER, str(site.config)],
        cwd=site.folder,
        env=site.env,
        stdout=subprocess.PIPE,
    )
    until(lambda: (site.run_dir / "control.sock").exists() and site.nginx_pid(), "nginx is up")
    assert site.ask(cookie="sticky=app1").worker == "app1"
    assert site.stop() == 0
    site.check_nothing_left()


# --- the launcher is stopped


def stop(site: Site) -> None:
    site.launcher.send_signal(signal.SIGSTOP)


def resume(site: Site) -> None:
    site.launcher.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_while_the_launcher_is_stopped_workers_print_into_the_log_and_later_to_the_launcher(site_of, preload):
    site = echo_site(site_of, LOUD, app={"preload": preload})
    log = site.run_dir / "workers.log"
    stop(site)
    print_lines(site, 200)
    print_lines(site, 200)
    resume(site)

    def printed() -> list[int]:
        return numbers("\n".join(site.lines))

    until(lambda: len(numbers(log.read_text())) + len(printed()) > 390, "nothing is lost")

    def printed_again() -> bool:
        site.lines.clear()
        logged = len(numbers(log.read_text()))
        print_lines(site, 100)
        until(lambda: printed()[-1:] == [99] or len(numbers(log.read_text())) > logged, "it arrives")
        return printed() == list(range(100))

    until(printed_again, "the launcher gets the output again")


def test_a_launcher_that_was_stopped_takes_no_healthy_worker_for_a_hung_one(site_of):
    """Its timers are due when it goes on, before it has read a single one of the beats that wait for it."""
    site = echo_site(site_of, app={"hang_timeout": 3})
    pids = {worker: site.pid(worker) for worker in site.workers()}
    for _ in range(2):
        stop(site)
        stopped = time.monotonic()
        until(lambda stopped=stopped: time.monotonic() > stopped + 4, "the time is over")
        resume(site)
        site.status()
    assert {worker: site.pid(worker) for worker in site.workers()} == pids
    assert not site.said("has hung")
    socket = site.websocket(cookie="sticky=app1")
    socket.send("hang")
    site.back("app1", pids["app1"])
    assert site.says("app1 .* has hung"), "one that does hang is found out"


def test_a_start_during_which_the_launcher_was_stopped_is_not_given_up(site_of):
    site = site_of({"app": {"target": "app.py", "workers": 2, "start_timeout": 15}})
    write_app(site, "import time\nwhile not os.path.exists('go'): time.sleep(0.01)")
    site.launcher = subprocess.Popen(
        [*LAUNCHER, str(site.config)], cwd=site.folder, env=site.env, stdout=subprocess.PIPE
    )
    until(lambda: (site.folder / "imports").exists(), "it is being imported")
    stop(site)
    (site.folder / "go").touch()
    stopped = time.monotonic()
    until(lambda: time.monotonic() > stopped + 16, "the time is over")
    resume(site)
    until(lambda: answers(site.run_dir / "app2.sock"), "it is up")


def test_commands_say_that_the_launcher_is_stopped(site_of):
    site = echo_site(site_of)
    stop(site)
    pid = site.launcher.pid
    for command in (["status"], ["reload"], ["restart", "app1"]):
        failed = site.command(*command, str(site.config))
        assert failed.returncode == 1
        assert f"The launcher (pid {pid}) is stopped. Let it go on: kill -CONT {pid}" in failed.stderr


def test_a_worker_does_not_keep_the_log_open_as_its_output_once_the_launcher_reads(site_of):
    """Programs that the app starts then print to the launcher as well."""
    site = echo_site(site_of, LOUD)
    stop(site)
    print_lines(site, 50)
    output = Path(f"/proc/{site.pid('app1')}/fd/1")
    until(lambda: str(output.readlink()).endswith("workers.log"), "it goes to the log")
    resume(site)
    until(lambda: str(output.readlink()).startswith("pipe:"), "it goes to the launcher")
