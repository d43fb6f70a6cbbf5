"""On a terminal, here a real one: Ctrl-C and a closed window end the site, soon and in order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
import time

import psutil
import pytest

from support.real_site import ECHO, LAUNCHER, Site, until

CTRL_C = b"\x03"


def _as_in_a_window() -> None:
    """Let the terminal be a process's own; tests may run where a closed window ends nothing (nohup)."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Terminal:
    """A window of a terminal in which a site is started.

    Attributes:
        text: what it shows, with its colours.
    """

    def __init__(self, site: Site, *before: str) -> None:
        self.text = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\x00\xc8\x00\x00\x00\x00\x00")  # 24 lines of 200 characters
        site.launcher = self.launcher = subprocess.Popen(
            [*before, *LAUNCHER, str(site.config)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=site.folder,
            env={**site.env, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=_as_in_a_window,
        )
        site.launcher.stdout = contextlib.nullcontext()
        site.launcher.stdout.close = lambda: None
        os.close(slave)
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Read, but never wait in it: a window that is being read from does not close."""
        with contextlib.suppress(OSError):  # all that was started there has ended
            while not self._closed.is_set():
                if select.select([self._master], [], [], 0.02)[0]:
                    self.text += os.read(self._master, 65536).decode()
        os.close(self._master)

    @property
    def plain(self) -> str:
        """What it shows, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text).replace("\r", "")

    def shows(self, pattern: str) -> str:
        """Wait for a line."""
        return until(lambda: re.search(pattern, self.plain, re.MULTILINE), f"the terminal shows {pattern}")[0]

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        self._closed.set()
        self._reader.join()


@pytest.fixture
def terminal_of():
    """A factory of terminals with a site in each that serves."""
    opened = []

    def make(site: Site, *before: str) -> Terminal:
        opened.append(Terminal(site, *before))
        opened[-1].shows("^worker +pid")
        site.remember_processes()
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.close()


def site_with_sessions(site_of, **settings) -> Site:
    return site_of({"app": {"target": ECHO, "workers": 2}}, **settings)


def open_sessions(site: Site, number: int) -> list:
    sockets = [site.websocket(cookie=f"sticky=app{1 + each % 2}") for each in range(number)]
    until(lambda: sum(site.sessions(worker) for worker in site.workers()) == number, "the launcher knows of them")
    return sockets


def test_a_start_ends_with_how_to_stop_and_before_that_the_warning_about_root_in_yellow(site_of, terminal_of):
    site = site_with_sessions(site_of)
    site.settings["listen"] = [f"0.0.0.0:{site.port}"]
    site.write()
    terminal = terminal_of(site)
    assert terminal.shows("^Press Ctrl-C to stop.$") == terminal.plain.splitlines()[-1]
    if os.geteuid() == 0:
        assert terminal.plain.splitlines()[-2].startswith("nginx and the workers run as root. ")
        (warning,) = [line for line in terminal.text.splitlines() if "run as root" in line]
        assert warning.startswith("\x1b[1;33m"), "bold and yellow"
    shown = terminal.shows("^app is at .*")
    url = rf"http://([\w.]+):{site.port}/"
    found = re.fullmatch(rf"app is at {url}(?:, from other machines at {url})?", shown)
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    assert found and found[1] == "127.0.0.1"
    assert found[2] is None or found[2] in own - {"127.0.0.1"}, "the machine's own"
    terminal.close()
    assert terminal.launcher.wait(60) == 0, "a closed window ends it"
    site.check_nothing_left()


def test_ctrl_c_says_what_it_waits_for_and_gives_it_two_seconds(site_of, terminal_of):
    site = site_with_sessions(site_of, stop={"drain_timeout": 3600})
    terminal = terminal_of(site)
    sockets = open_sessions(site, 3)
    began = time.monotonic()
    terminal.type(CTRL_C)
    terminal.shows("Stopping; waiting 2 s for 3 sessions, Ctrl-C again ends them$")
    assert terminal.launcher.wait(60) == 0
    assert time.monotonic() - began > 1.5
    assert terminal.shows("^Stopped$")
    site.check_nothing_left()
    del sockets


def test_a_second_ctrl_c_ends_all(site_of, terminal_of):
    site = site_with_sessions(site_of)
    terminal = terminal_of(site)
    sockets = open_sessions(site, 1)
    terminal.type(CTRL_C)
    terminal.shows("waiting 2 s for 1 session, ")
    terminal.type(CTRL_C)
    terminal.shows("Ctrl-C again: ending everything at once")
    assert terminal.launcher.wait(60) == 0
    site.check_nothing_left()
    del sockets


def test_with_nohup_it_outlives_the_terminal(site_of, terminal_of):
    site = site_with_sessions(site_of)
    terminal = terminal_of(site, "sh", "-c", 'trap "" HUP; exec "$0" "$@"')
    before = site.incarnations()
    terminal.close()
    os.kill(terminal.launcher.pid, signal.SIGHUP)  # a shell passes it on to its jobs
    until(lambda: before.keys().isdisjoint({site.incarnation(worker) for worker in site.workers()}), "a deploy")
    assert site.stop() == 0
    site.check_nothing_left()
