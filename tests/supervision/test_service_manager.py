"""systemd, or who else has set NOTIFY_SOCKET, is told when the site serves and how it is doing."""

import time

import pytest

from support.echo_site import Sessions, write_app
from support.real_site import Site
from support.service_manager import WATCHED, Listener

# What the app has of what is between the launcher and its service manager.
SEEN = "ME['seen'] = [name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG'))]"

SECOND = 1_000_000


@pytest.fixture(scope="module")
def kept():
    with Site({"app": {"target": "app.py", "workers": 2}}) as site:
        write_app(site, SEEN)
        listener = Listener(site, str(site.folder / "notify"))
        yield site.start(program=WATCHED), listener
        listener.close()


def test_it_is_ready_when_all_serves_and_not_before(kept):
    site, listener = kept
    ready = listener.hears("READY", "1")
    assert (ready["MAINPID"], ready["STATUS"]) == (str(site.launcher.pid), "2 of 2 workers, 0 sessions")
    before = listener.messages[: listener.messages.index(ready)]
    assert any("EXTEND_TIMEOUT_USEC" in message for message in before), "a long start is granted"
    assert any(message.get("STATUS", "").startswith("Starting") for message in before)


def test_the_status_counts_sessions(kept):
    site, listener = kept
    sessions = Sessions(site, ["app1"])
    listener.hears("STATUS", "2 of 2 workers, 1 session")
    more = Sessions(site, ["app2"])
    listener.hears("STATUS", "2 of 2 workers, 2 sessions")
    sessions.close()
    more.close()


def test_the_watchdog_hears_from_it_again_and_again(kept):
    _, listener = kept
    listener.hears("WATCHDOG", "1")
    listener.hears("WATCHDOG", "1", after=len(listener.messages))


def test_the_app_and_what_it_starts_are_told_nothing_of_it(kept):
    site, _ = kept
    assert site.ask().json["seen"] == []


def test_a_deploy_is_told_from_its_beginning_to_its_end(kept):
    site, listener = kept
    began, known = time.monotonic(), len(listener.messages)
    site.reload()
    reloading = listener.hears("RELOADING", "1", after=known)
    assert began * SECOND <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic() * SECOND
    assert reloading["STATUS"].startswith("Deploying: ")
    listener.hears("READY", "1", after=known)
    told = [key for message in listener.messages[known:] for key in message if key in ("RELOADING", "READY")]
    assert told == ["RELOADING", "READY"]


def test_a_deploy_that_has_failed_is_remembered_until_one_goes_well(kept):
    site, listener = kept
    known = len(listener.messages)
    write_app(site, "import numpie")
    with pytest.raises(AssertionError, match="numpie"):
        site.reload()
    failed = listener.hears("READY", "1", after=known)
    assert failed["STATUS"].endswith(" sessions; the last deploy has failed")
    write_app(site, SEEN)
    known = len(listener.messages)
    site.reload()
    assert listener.hears("READY", "1", after=known)["STATUS"].endswith(" sessions")


def test_a_restart_in_place_is_told_to_the_same_socket(kept):
    site, listener = kept
    known = len(listener.messages)
    site.remember_processes()
    site.control("POST", "/restart")
    assert listener.hears("READY", "1", after=known)["MAINPID"] == str(site.launcher.pid)
    listener.hears("WATCHDOG", "1", after=len(listener.messages))


def test_a_stop_is_told_with_the_time_that_it_may_take_on_an_abstract_socket(site_of):
    site = site_of(stop={"drain_timeout": 300})
    listener = Listener(site, f"@{site.folder.name}")
    site.start()
    listener.hears("READY", "1")
    assert site.stop() == 0
    stopping = listener.hears("STOPPING", "1")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 300 * SECOND
    assert listener.told("WATCHDOG") == [], "it was asked of another process"
    listener.close()


def test_a_service_manager_that_is_gone_holds_nothing_up(site_of):
    site = site_of()
    Listener(site, str(site.folder / "notify")).close()
    site.start()
    assert site.ask().status == 200
    assert site.stop() == 0
