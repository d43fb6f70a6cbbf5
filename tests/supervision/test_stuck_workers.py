"""A worker whose event loop is stuck gets no new visitors until it is heard again; those that it has wait."""

import collections
import os
import signal
import threading
from pathlib import Path

from shiny_sticky.supervision.pool import FOLDERS
from support.real_site import ECHO, Site, until

QUICK = {"drain_timeout": 1}  # at the end of a test: some workers do not answer


def state(site: Site, worker: str) -> str:
    return site.states()[worker][0]


def stop(site: Site, *workers: str) -> None:
    """Stop the processes of workers, and wait until that is noticed."""
    for worker in workers:
        os.kill(site.pid(worker), signal.SIGSTOP)
    for worker in workers:
        until(lambda worker=worker: state(site, worker) == "silent", f"{worker} is found to be silent")


def resume(site: Site, *workers: str) -> None:
    for worker in workers:
        os.kill(site.pid(worker), signal.SIGCONT)
    for worker in workers:
        until(lambda worker=worker: state(site, worker) == "serving", f"{worker} is heard again")


def visits(site: Site, number: int) -> dict[str, int]:
    """Whom new visitors come to, and whom their cookie names: the same."""
    replies = [site.ask() for _ in range(number)]
    assert [reply.assigned for reply in replies] == [reply.worker for reply in replies]
    return collections.Counter(reply.worker for reply in replies)


def sessions(site: Site, number: int) -> dict[str, int]:
    """Whom the handshakes of new visitors come to."""
    found: dict[str, int] = collections.Counter()
    for _ in range(number):
        socket = site.websocket()
        found[socket.recv().split('"worker": "')[1].split('"')[0]] += 1
        socket.close()
    return found


def without(worker: str, found: dict[str, int]) -> dict[str, int]:
    """Whom new visitors have come to, a worker that must not have got one not among them."""
    assert worker not in found
    return found


def evenly_busy(site: Site) -> bool:
    return {site.sessions(worker) for worker in site.workers()} == {1}


class Question(threading.Thread):
    """A request whose answer may take long."""

    def __init__(self, site: Site, cookie: str | None = None) -> None:
        super().__init__(daemon=True)
        self.reply = None
        self._ask = lambda: site.ask(cookie=cookie)
        self.start()

    def run(self) -> None:
        self.reply = self._ask()


def connected(site: Site, worker: str) -> bool:
    """Whether somebody has connected with a worker, which need not have noticed."""
    socket_file = str(site.run_dir / f"{site.incarnation(worker)}.sock")
    links = [line for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(socket_file)]
    return len(links) > 1  # the one is what it listens on


def test_a_stuck_worker_gets_no_new_visitors_until_it_is_heard_again_and_its_own_wait(site_of):
    site = site_of(stop=QUICK).start()
    everywhere = [site.websocket(cookie=f"sticky={worker}") for worker in site.workers()]
    for socket in everywhere:
        socket.recv()
    own = everywhere[1]
    until(lambda: evenly_busy(site), "the launcher knows that nobody has fewer sessions")
    until(lambda: visits(site, 8) == dict.fromkeys(site.workers(), 2), "all are heard")
    stop(site, "app2")
    waiting = Question(site, "sticky=app2")
    own.send("there?")
    others = ["app1", "app3", "app4"]
    until(lambda: without("app2", visits(site, 12)) == dict.fromkeys(others, 4), "round robin over the others")
    until(lambda: without("app2", sessions(site, 6)) == dict.fromkeys(others, 2), "sessions likewise")
    assert site.ask(method="POST", body=b"x").worker in others
    assert waiting.is_alive()
    resume(site, "app2")
    assert own.recv() == "there?"
    waiting.join(60)
    assert (waiting.reply.worker, waiting.reply.set_cookies) == ("app2", [])
    until(lambda: evenly_busy(site), "those in between have ended")
    until(lambda: visits(site, 8) == dict.fromkeys(site.workers(), 2), "and it has its seat again")
    until(lambda: sessions(site, 8) == dict.fromkeys(site.workers(), 2), "for sessions, too")


def test_when_all_are_stuck_new_visitors_wait_and_are_not_turned_away(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}, stop=QUICK).start()
    stop(site, "app1", "app2")
    questions = [Question(site) for _ in range(4)]
    until(lambda: connected(site, "app1") and connected(site, "app2"), "they have reached the workers")
    assert all(question.is_alive() for question in questions)
    resume(site, "app1", "app2")
    for question in questions:
        question.join(60)
        assert question.reply.status == 200


def test_one_that_a_restart_puts_in_the_place_of_a_stuck_one_gets_visitors(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}, stop=QUICK).start()
    stop(site, "app1")
    site.restart("app1")
    until(lambda: visits(site, 4) == {"app1": 2, "app2": 2}, "both are heard")
    assert site.stop() == 0
    assert [file for folder in FOLDERS for file in (site.run_dir / folder).iterdir()] == []


def test_one_that_takes_the_place_of_a_hung_one_gets_visitors(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2, "hang_timeout": 4}}, stop=QUICK).start()
    hung = site.pid("app2")
    os.kill(hung, signal.SIGSTOP)
    site.back("app2", hung)
    until(lambda: visits(site, 4) == {"app1": 2, "app2": 2}, "the launcher knows")


def test_a_new_launcher_takes_all_into_the_pool_again(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}, stop=QUICK).start()
    stop(site, "app1")
    site.kill_launcher()
    assert visits(site, 4) == {"app2": 4}
    site.start()
    until(lambda: visits(site, 4) == {"app1": 2, "app2": 2}, "both are heard")


def test_a_launcher_that_was_stopped_takes_nobody_for_stuck(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 2}}, stop=QUICK).start()
    folders = [site.run_dir / folder for folder in FOLDERS]
    changed = [folder.stat().st_mtime_ns for folder in folders]
    site.launcher.send_signal(signal.SIGSTOP)
    begun = os.times().elapsed
    until(lambda: os.times().elapsed > begun + 4, "it was stopped for longer than a worker may be silent")
    site.launcher.send_signal(signal.SIGCONT)
    assert site.states() == {"app1": ["serving"], "app2": ["serving"]}
    assert [folder.stat().st_mtime_ns for folder in folders] == changed, "not even for a moment"
