"""An app that nobody uses has no process; a request that comes wakes it, and is answered by it."""

import json
import threading

import pytest

from shiny_sticky.supervision.held_requests import asks_for_page
from support.echo_site import echo_site, imports, write_app
from support.real_site import ECHO, Site, until

IDLE = {"idle_timeout": 1}

# The import takes until a test allows its end.
SLOW = "import time\nfrom pathlib import Path\nwhile not Path('go').exists(): time.sleep(0.05)\n"

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Questions:
    """Requests that are asked side by side, and may take long to be answered."""

    def __init__(self, site: Site, questions: list[dict]) -> None:
        self.replies: list = [None] * len(questions)
        self._threads = [
            threading.Thread(target=self._ask, args=(site, place, question), daemon=True)
            for place, question in enumerate(questions)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, site: Site, place: int, question: dict) -> None:
        self.replies[place] = site.ask(**question)

    def answers(self) -> list:
        for thread in self._threads:
            thread.join(60)
        return self.replies


def asleep(site: Site, app: str = "app") -> bool:
    """Whether the app has no process at all."""
    status = site.status()
    workers = [worker for worker in status["workers"] if worker["app"] == app]
    mine = [each for each in site.incarnations() if each.startswith(app)]
    return all(worker["asleep"] and not worker["incarnations"] for worker in workers) and not [
        *(parent for parent in status["parents"] if parent["app"] == app),
        *mine,
    ]


def falls_asleep(site: Site, app: str = "app") -> None:
    until(lambda: asleep(site, app), f"{app} sleeps")


@pytest.fixture(scope="module")
def drowsy():
    """A site whose app sleeps after a second; shared by tests that begin by letting it sleep."""
    with Site({"app": {"target": "app.py", "workers": 2, **IDLE}}, cache={"paths": ["/kept/"]}) as site:
        write_app(site)
        yield site.start()


def test_it_sleeps_from_the_start_and_who_comes_is_answered_by_the_worker_that_the_cookie_names(drowsy):
    assert asleep(drowsy)
    assert not (drowsy.folder / "imports").exists(), "a start imports nothing"
    named = [{"cookie": f"sticky=app{number % 2 + 1}"} for number in range(10)]
    posts = [{"method": "POST", "body": b"x" * 100_000, "cookie": "sticky=app2"} for _ in range(5)]
    replies = Questions(drowsy, [*named, *posts, *[{}] * 5]).answers()
    assert [reply.status for reply in replies] == [200] * 20
    assert [reply.worker for reply in replies[:15]] == ["app1", "app2"] * 5 + ["app2"] * 5
    assert [reply.json["size"] for reply in replies[10:15]] == [100_000] * 5
    assert [reply.assigned for reply in replies[15:]] == [reply.worker for reply in replies[15:]]
    assert len(imports(drowsy)) == 1
    session = drowsy.websocket()  # it does not sleep meanwhile
    until(lambda: drowsy.states() == {"app1": ["serving"], "app2": ["serving"]}, "each is heard")
    session.close()


def test_it_does_not_sleep_while_a_session_or_a_request_is_open_and_then_does(drowsy):
    falls_asleep(drowsy)
    session = drowsy.websocket()
    worker, incarnation = map(json.loads(session.recv()).get, ("worker", "incarnation"))
    long = Questions(drowsy, [{"path": "/?sleep=4", "cookie": "sticky=app1"}])
    assert long.answers()[0].status == 200, "longer than the time after which it sleeps"
    session.send("still there")
    assert session.recv() == "still there"
    assert drowsy.incarnation(worker) == incarnation
    session.close()
    falls_asleep(drowsy)
    assert drowsy.said("App app sleeps: nobody has used it for 1 s")


def test_the_session_of_an_ended_process_has_ended_and_asking_for_it_wakes_nobody(drowsy):
    session = drowsy.websocket()
    incarnation = json.loads(session.recv())["incarnation"]
    session.close()
    falls_asleep(drowsy)
    assert drowsy.ask(f"/session/{incarnation}-abc/upload/1", method="POST", body=b"x").status == 410
    assert asleep(drowsy)


def test_what_nginx_keeps_is_served_while_the_app_sleeps(drowsy):
    kept = drowsy.ask("/kept/file")
    falls_asleep(drowsy)
    again = drowsy.ask("/kept/file")
    assert (again.status, again.json["pid"]) == (200, kept.json["pid"])
    assert asleep(drowsy)


def test_status_says_that_it_sleeps_and_a_restart_of_a_worker_that_there_is_none(drowsy):
    falls_asleep(drowsy)
    rows = [line.split() for line in drowsy.command("status", str(drowsy.config)).stdout.splitlines()]
    assert [row[:4] for row in rows if row and row[0] in ("app1", "app2")] == [
        ["app1", "-", "-", "sleeping"],
        ["app2", "-", "-", "sleeping"],
    ]
    assert drowsy.restart("app1") == "app1 sleeps: the next request starts it, with the code as it is then"


def test_a_deploy_lets_it_sleep_and_it_wakes_with_new_code_and_as_many_workers(drowsy):
    falls_asleep(drowsy)
    before = len(imports(drowsy))
    write_app(drowsy, version=2)
    drowsy.settings["apps"]["app"]["workers"] = 3
    drowsy.settings["apps"]["other"] = {"target": ECHO, "path": "/other/", "workers": 1, **IDLE}
    drowsy.write()
    drowsy.reload()
    assert asleep(drowsy) and asleep(drowsy, "other")
    assert len(imports(drowsy)) == before
    reply = drowsy.ask(cookie="sticky=app3")
    assert (reply.worker, reply.json["version"]) == ("app3", 2)
    assert drowsy.ask("/other/").worker == "other1"
    falls_asleep(drowsy)

    del drowsy.settings["apps"]["other"]
    drowsy.settings["apps"]["app"] |= {"workers": 2, "idle_timeout": None}
    drowsy.write()
    drowsy.reload()
    until(lambda: not any(worker["asleep"] for worker in drowsy.status()["workers"]), "who may not sleep is awake")
    drowsy.settings["apps"]["app"] |= IDLE
    drowsy.write()
    drowsy.reload()
    falls_asleep(drowsy)


def test_a_new_launcher_lets_it_sleep_or_has_it_awake_if_it_is_in_use(drowsy):
    falls_asleep(drowsy)
    drowsy.kill_launcher()
    drowsy.start()
    assert asleep(drowsy)
    session = drowsy.websocket()
    worker, incarnation = map(json.loads(session.recv()).get, ("worker", "incarnation"))
    drowsy.kill_launcher()
    drowsy.start()
    assert drowsy.states() == {"app1": ["serving"], "app2": ["serving"]}
    session.send("still there")
    assert session.recv() == "still there"
    assert drowsy.incarnation(worker) != incarnation
    session.close()
    falls_asleep(drowsy)


def test_an_app_that_has_grown_sleeps_and_wakes_with_its_fewest_workers(site_of):
    by_need = {"workers": {"min": 1, "max": 3}, "sessions_per_worker": 1, "spare": 0}
    site = echo_site(site_of, app={**by_need, **IDLE})
    assert list(site.states()) == ["app1"]
    sessions = [site.websocket() for _ in range(2)]
    until(lambda: list(site.states().values()) == [["serving"]] * 2, "it grows")
    for session in sessions:
        session.close()
    falls_asleep(site)
    assert list(site.states()) == ["app1"]
    assert site.ask(cookie="sticky=app2").assigned == "app1", "the cookie of a worker that is not there"


def test_a_stop_while_it_sleeps_leaves_nothing(site_of):
    site = echo_site(site_of, app=IDLE)
    assert site.stop() == 0
    site.check_nothing_left()


def test_who_waits_long_is_told_so_and_all_else_is_held_until_it_is_awake(site_of):
    site = echo_site(site_of, SLOW, app=IDLE)
    questions = Questions(
        site,
        [
            {"headers": PAGE, "cookie": "sticky=app1"},
            {"method": "POST", "body": b"x" * 100_000, "cookie": "sticky=app2"},
            {"path": "/api", "cookie": "sticky=app1"},
        ],
    )
    until(lambda: questions.replies[0], "the page is answered")
    page = questions.replies[0]
    assert (page.status, page.headers["Retry-After"], page.headers["Cache-Control"]) == (503, "2", "no-store")
    assert "The app is starting" in page.body.decode()
    assert site.ask(headers=PAGE).status == 503, "as long as it takes"
    sessions = []
    opener = threading.Thread(target=lambda: sessions.append(site.websocket()), daemon=True)
    opener.start()
    assert questions.replies[1:] == [None, None]
    (site.folder / "go").touch()
    _, post, get = questions.answers()
    assert (post.status, post.worker, post.json["size"]) == (200, "app2", 100_000)
    assert (get.status, get.json["path"]) == (200, "/api")
    opener.join(60)
    assert json.loads(sessions[0].recv())["worker"] in ("app1", "app2")
    sessions[0].close()
    assert len(imports(site)) == 1


def test_an_app_that_cannot_wake_says_so_to_all_and_is_tried_again_once_it_can(site_of):
    site = echo_site(site_of, "import numpie", app=IDLE)
    replies = Questions(site, [{}, {"method": "POST", "cookie": "sticky=app2"}]).answers()
    assert [(reply.status, reply.headers["Retry-After"]) for reply in replies] == [(503, "2")] * 2
    assert site.says("No module named 'numpie'")
    until(
        lambda: "cannot be reached" in site.ask(headers=PAGE).body.decode(), "browsers are told that it is broken"
    )
    write_app(site)
    until(lambda: site.ask().status == 200, "it is tried again")


@pytest.mark.parametrize(
    ("head", "page"),
    [
        ("GET / HTTP/1.1\r\nAccept: text/html, */*\r\n\r\n", True),
        ("HEAD / HTTP/1.1\r\nsec-fetch-mode: navigate\r\n\r\n", True),
        ("GET / HTTP/1.1\r\nAccept: text/html\r\nSec-Fetch-Mode: same-origin\r\n\r\n", False),
        ("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", False),
        ("POST / HTTP/1.1\r\nAccept: text/html\r\n\r\n", False),
        ("GET / HTTP/1.1\r\nAccept: text/html\r\nUpgrade: websocket\r\n\r\n", False),
        ("GET /?Accept:text/html HTTP/1.1\r\nHost: a\r\n\r\n", False),
    ],
)
def test_a_browsers_visit_is_told_from_what_programs_and_scripts_ask(head, page):
    assert asks_for_page(head.encode()) is page
