"""When nothing more fits: who comes is told so, and gets in when it is their turn. On real workers, and nginx."""

import json
import re
import stat

import pytest
import websocket

from shiny_sticky.supervision.waiting_room import KEY_FILE
from support.real_site import Site, until
from support.waiting_visitors import Waiting, app_status, fill, full_site, in_line, visit


def waits(site: Site, query: str = "", cookie: str | None = None, **headers: str) -> None:
    """Who comes is told to wait, and becomes nobody's by that."""
    reply = visit(site, query, cookie, **headers)
    assert (reply.status, reply.headers["Retry-After"], reply.set_cookies) == (503, "3", [])
    assert reply.headers["Cache-Control"] == "no-store"
    assert b"All places are taken" in reply.body


def refused(site: Site, cookie: str | None = None) -> None:
    """A websocket is refused before it is accepted."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        site.websocket(cookie=cookie)
    assert refusal.value.status_code == 503


def test_first_come_is_first_served_and_nobody_gets_in_before(site_of):
    site = full_site(site_of)
    sessions = fill(site)
    waits(site)
    with in_line(site, 3) as everybody:
        first, second, third = everybody
        assert [one.place for one in everybody] == [1, 2, 3]
        assert site.says("App app is full .max_sessions.: visitors wait for their turn")
        assert app_status(site)["waiting"] == 3
        shown = site.command("status", str(site.config)).stdout
        assert "app: full (max_sessions), visitors who wait for a place: 3" in shown
        for cookie in (None, "sticky=app1", "sticky=app2"):
            refused(site, cookie)
            waits(site, cookie=cookie)

        sessions[0].close()
        until(lambda: app_status(site)["sessions"] == 1, "there is a place")
        for cookie in (None, "sticky=app1", "sticky=app2"):  # of yesterday
            waits(site, cookie=cookie)
        assert third.ask().admission == second.ask().admission == ""
        cookie = first.enters(second, third)
        waits(site, f"sticky-admission={first.admission}", cookie=cookie)
        sessions.append(site.websocket(cookie=cookie))
        until(lambda: app_status(site)["sessions"] == 2, "it is taken")
        assert (second.ask().place, third.ask().place) == (1, 2)
        assert second.admission == ""

        for session in sessions[1:]:
            session.close()
        for one, others in ((second, [third]), (third, [])):
            site.websocket(cookie=one.enters(*others)).close()
    until(lambda: visit(site).status == 200, "nobody waits, and all may come")
    until(lambda: app_status(site)["waiting"] == 0, "nobody waits")
    assert site.says("Nobody waits for App app any more")


def test_who_is_in_stays_in_also_when_the_page_is_loaded_again(site_of):
    """A browser asks for the page before it leaves the old one, whose place is that of the new one, then."""
    site = full_site(site_of)
    cookie = "sticky=app1"
    mine, other = (site.websocket(cookie=f"sticky={worker}") for worker in site.workers())
    until(lambda: app_status(site)["sessions"] == 2, "the launcher knows")
    with in_line(site, 1) as (waiting,):
        waits(site, cookie=cookie)
        again = visit(site, cookie=cookie, cache_control="max-age=0")
        assert (again.status, again.set_cookies) == (200, [])
        waits(site, "sticky-ticket=none", cookie=cookie, cache_control="max-age=0")
        for session in (mine, other):
            session.send("still there?")
            assert session.recv() == "here"
        script = {"Sec-Fetch-Mode": "cors", "Accept": "text/html"}
        assert site.ask("/data", cookie=cookie, headers=script).status == 200
        mine.close()
        until(lambda: app_status(site)["sessions"] == 1, "the old page is left")
        assert waiting.ask().admission == ""
        site.websocket(cookie=cookie).close()
    other.close()


def test_tickets_and_admissions_of_others_are_worth_nothing(site_of):
    app = {"target": "app.py", "workers": 2, "max_sessions": 1}
    site = full_site(site_of, start=False)
    site.settings["apps"]["other"] = {**app, "path": "/other/"}
    site.write()
    site.start()
    foreign = Waiting(site, "/other/").ask()
    assert foreign.admission, "there is room"
    sessions = fill(site)
    Waiting(site).ask()
    ticket = Waiting(site).ask().ticket
    changed = ticket[:-1] + ("0" if ticket[-1] != "0" else "1")
    for bad in (changed, foreign.admission, "../../etc/passwd", "%0d%0a", "t." + "1" * 4000, ""):
        assert json.loads(site.ask(f"/sticky-place?ticket={bad}").body)["place"] > 2
    for bad in (foreign.admission, ticket, "x"):
        waits(site, f"sticky-admission={bad}")
    assert site.ask("/sticky-place?ticket=none", method="POST", body="x").status == 403
    there = Waiting(site, "/other/").ask()
    assert re.search(rb"</head>other\d\?$", visit(site, f"sticky-admission={there.admission}", path="/other/").body)
    for session in sessions:
        session.close()


def test_places_survive_the_launcher_and_without_one_there_is_no_line(site_of):
    """Where there is room, who comes is let in after a while."""
    site = full_site(site_of)
    sessions = fill(site)
    first, second = Waiting(site).ask(), Waiting(site).ask()
    key = site.run_dir / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    site.kill_launcher()
    lost = site.ask(f"/sticky-place?ticket={first.ticket}")
    assert (lost.status, lost.headers["Retry-After"]) == (503, "3")
    for cookie in (None, "sticky=app1", "sticky=app2"):
        refused(site, cookie)
    waits(site)
    sessions.pop().close()
    until(lambda: visit(site).status == 200, "the launcher's word holds no more")

    site.start()
    sessions += fill(site)
    assert second.ask().place == 1
    assert (first.ask().place, second.ask().place) == (1, 2)
    assert site.stop() == 0
    site.check_nothing_left()


def test_a_deploy_brings_the_line_and_takes_it_away(site_of):
    site = full_site(site_of, max_sessions=None)
    sessions = fill(site)
    assert b"</head>app" in visit(site, path="/sticky-place").body, "the app's own"
    site.settings["apps"]["app"]["max_sessions"] = 1
    site.write()
    site.reload()
    sessions += fill(site)
    assert Waiting(site).ask().place == 1
    waits(site)
    assert (site.run_dir / "app.queue.sock").is_socket()
    site.settings["apps"]["app"]["max_sessions"] = None
    site.write()
    site.reload()
    assert visit(site).status == 200
    assert b"</head>app" in visit(site, path="/sticky-place").body
    until(lambda: not (site.run_dir / "app.queue.sock").exists(), "nobody asks there any more")
    for session in sessions:
        session.close()


def test_workers_that_may_be_more_are_more_before_anybody_has_to_wait_for_long(site_of):
    """However few sessions_per_worker says that there are, and with none to spare."""
    site = full_site(site_of, workers={"min": 1, "max": 3}, spare=0)
    sessions = []
    for number in range(1, 4):
        sessions.append(site.websocket(cookie=Waiting(site).enters()))
        until(lambda number=number: app_status(site)["sessions"] == number, "the launcher knows")
    assert app_status(site)["workers"] == 3
    assert site.says(r"App app grows from 1 to 2 workers: 1 session in 1 worker, 1 waiting")
    assert Waiting(site).ask().place == 1
    for session in sessions:
        session.close()
