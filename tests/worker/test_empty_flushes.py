"""What Shiny sends to say that nothing has changed stays in the worker; all else reaches the page, in its order."""

import contextlib
import itertools
import json

import pytest
from shiny.session._session import AppSession

from shiny_sticky.worker import flushes
from shiny_sticky.worker.middleware.empty_flushes import is_empty_flush
from support.real_site import APPS, Site
from support.shiny_session import ShinySession

PARTS = ('"values": {}', '"inputMessages": []', '"errors": {}')
EMPTY = f"{{{', '.join(PARTS)}}}"  # as Shiny writes it
APP = {"target": str(APPS / "neighbours.py"), "workers": 1}
UPDATES = 20


@pytest.fixture(scope="module")
def site():
    """One app with its messages, once less the empty ones and once with all, and one that is not Shiny's."""
    apps = {
        "app": APP,
        "all": {**APP, "path": "/all/", "empty_flushes": True},
        "parrot": {"target": str(APPS / "parrot.py"), "workers": 1, "path": "/parrot/"},
    }
    with Site(apps) as shared:
        yield shared.start()


@contextlib.contextmanager
def two_sessions(site, path):
    """Two pages of one process, each with its first outputs."""
    options = {"outputs": ("answer",), "inputs": {"n": 0, "keep": False, "listen:shiny.action": 0}}
    with (
        ShinySession(site.port, path, **options) as one,
        ShinySession(site.port, path, **options) as other,
    ):
        for session in (one, other):
            session.output("answer")
            session.call("made")
            session.until(lambda session=session: session.received[-1] == EMPTY, "the flush after the answer")
        yield one, other


def update(session, times=UPDATES, begin=1):
    """Change the input time and again, and wait for each output."""
    for n in range(begin, begin + times):
        session.update(n=n)
        session.until(lambda n=n: session.values["answer"] == f"n is {n}", f"n is {n}")


def kinds(messages):
    """What each message is about."""
    return [next(iter(json.loads(text))) for text in messages]


# --- what is an empty flush


@pytest.mark.parametrize("parts", [*itertools.permutations(PARTS)])
@pytest.mark.parametrize("space", ["", " ", "\n  "])
def test_an_empty_flush_is_known_in_any_order_and_however_it_is_spaced(parts, space):
    text = json.dumps(json.loads(f"{{{','.join(parts)}}}"), separators=(f",{space}", f":{space}"))
    assert is_empty_flush(text)
    assert is_empty_flush(f"{space}{text}{space}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"busy": "idle"}',
        '{"values": {}, "errors": {}}',
        '{"values": {"": ""}, "inputMessages": [], "errors": {}}',
        '{"values": {}, "inputMessages": [[]], "errors": {}}',
        '{"values": {}, "inputMessages": [], "errors": {"a": null}}',
        '{"values": {}, "inputMessages": [], "errors": {}, "custom": {}}',
        '{"values": {}, "values": {}, "values": {}}',
        '{"custom": {"said": "{\\"values\\": {}, \\"inputMessages\\": [], \\"errors\\": {}}"}}',
        EMPTY + " " * 1000,
    ],
)
def test_whatever_says_something_or_is_no_flush_is_none(text):
    assert not is_empty_flush(text)


# --- what reaches a page


def test_a_page_is_not_told_that_other_sessions_have_changed(site):
    with two_sessions(site, "/") as (one, other):
        before = len(other.received)
        update(one)
        update(other, times=1)  # whatever was sent before has come, too
        assert kinds(other.received[before:]) == ["progress", "busy", *["recalculating"] * 2, "busy", "values"]
        assert EMPTY not in one.received[-UPDATES:]


def test_empty_flushes_brings_back_all_that_shiny_sends(site):
    with two_sessions(site, "/all/") as (one, other):
        before = len(other.received)
        update(one)
        update(other, times=1)
        assert other.received[before:].count(EMPTY) >= UPDATES


def test_whoever_sends_something_is_answered_even_if_nothing_comes_of_it(site):
    with two_sessions(site, "/") as (one, _):
        for number in range(3):
            before = len(one.received)
            one.update(no_such_input=number)
            one.until(lambda before=before: len(one.received) > before, "there is an answer")
            assert one.received[before:] == [EMPTY]


def test_an_output_that_keeps_its_value_ends_its_recalculation(site):
    with two_sessions(site, "/") as (one, other):
        before = len(one.received)
        one.update(keep=True)
        one.until(lambda: EMPTY in one.received[before:], "the flush that ends it")
        update(other, times=3)
        told = kinds(one.received[before:])
        assert told == ["progress", "busy", "recalculating", "recalculating", "busy", "values"]


def test_the_flush_callbacks_of_a_session_are_called_whoever_has_changed(site):
    with two_sessions(site, "/") as (one, other):
        other.update(listen__shiny_action=1)
        other.until(lambda: "flushed" in other.custom, "it listens")

        def heard():
            return sum('"flushed"' in text for text in other.received)

        before = heard()
        update(one, times=5)
        other.until(lambda: heard() - before >= 5, "it hears of each flush")


def test_a_websocket_that_is_not_shinys_may_send_the_same_text(site):
    connection = site.websocket("/parrot/")
    for _ in range(3):
        connection.send(EMPTY)
        assert connection.recv() == EMPTY
    connection.close()


# --- what it costs


@pytest.mark.parametrize(("path", "made"), [("/", 6), ("/all/", 7)])
def test_for_a_session_to_which_nothing_has_happened_shiny_makes_no_message(site, path, made):
    """To make one takes as long as to send it; those for all others would be most of what an update takes."""
    with two_sessions(site, path) as (one, _):
        update(one, times=1)
        before = one.call("made")
        update(one, begin=2)
        # A call is answered by a message, and a flush follows to both.
        assert one.call("made") - before - made * UPDATES in range(1, 4)


def test_the_flush_of_this_shiny_is_one_that_may_be_left_out(monkeypatch):
    monkeypatch.setattr(AppSession, "_flush", AppSession._flush)
    assert flushes.shorten()


def test_a_shiny_whose_flush_does_something_else_is_left_alone(monkeypatch):
    async def flush(session):
        await session._send_telemetry()

    monkeypatch.setattr(AppSession, "_flush", flush)
    assert not flushes.shorten()
    assert AppSession._flush is flush
