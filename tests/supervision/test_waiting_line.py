"""Whose turn it is in an app that is full: decided without a process, by a clock that the test sets."""

import pytest

from shiny_sticky.supervision.waiting_line import (
    ADMISSION_SECONDS,
    AGAIN_SECONDS,
    AWAY_SECONDS,
    LATE_SECONDS,
    LONGEST_PAUSE,
    LOST_SECONDS,
    MOST,
    Admission,
    Place,
    TooMany,
    WaitingLine,
)
from shiny_sticky.worker import tokens

KEY = tokens.key_of("app", b"k" * 32)


class Played:
    """A line, and who waits in it.

    Attributes:
        now: Unix time, in seconds.
        free: places.
    """

    def __init__(self, key: bytes = KEY) -> None:
        self.now = 1_800_000_000.0
        self.free = 0
        self.line = WaitingLine(key, lambda: self.now)
        self.now += AGAIN_SECONDS + 1  # it has been there for a while

    def ask(self, ticket: str = "none") -> Place | Admission | TooMany:
        return self.line.ask(ticket, self.free)

    def come(self) -> str:
        """Somebody comes, and has to wait; gives their ticket. The next one comes later."""
        self.now += 0.01
        answer = self.ask()
        assert isinstance(answer, Place)
        return answer.ticket

    def wait(self, seconds: float, *tickets: str) -> list[str]:
        """Let time pass in which some ask as they are told to; gives the tickets that they have then."""
        held, due = list(tickets), [self.now] * len(tickets)
        end = self.now + seconds
        while self.now < end:
            for number, ticket in enumerate(held):
                if self.now >= due[number]:
                    answer = self.ask(ticket)
                    assert isinstance(answer, Place)
                    held[number], due[number] = answer.ticket, self.now + answer.again
            self.line.forget()
            self.now += 0.5
        return held

    def restart(self, seconds: float = 0.0) -> None:
        """A new launcher knows nobody."""
        self.now += seconds
        self.line = WaitingLine(KEY, lambda: self.now)


@pytest.fixture
def played() -> Played:
    return Played()


def test_who_came_first_gets_the_first_place_and_who_comes_now_none_before(played):
    first, second = played.come(), played.come()
    played.free = 1
    assert isinstance(played.ask(), Place), "a newcomer"
    assert isinstance(played.ask(second), Place)
    assert isinstance(played.ask(first), Admission)
    assert isinstance(played.ask(second), Place), "the place is somebody's who is on the way"


def test_as_many_get_in_as_there_are_places(played):
    tickets = [played.come() for _ in range(5)]
    played.free = 3
    answers = [played.ask(ticket) for ticket in reversed(tickets)]
    assert [isinstance(answer, Admission) for answer in answers] == [False, False, True, True, True]


def test_where_nobody_waits_a_place_is_given_at_once(played):
    played.free = 1
    assert isinstance(played.ask(), Admission)
    assert (played.line.waiting, played.line.on_their_way) == (0, 1)


def test_an_answer_that_was_lost_is_given_again(played):
    ticket = played.come()
    played.free = 1
    assert played.ask(ticket) == played.ask(ticket)
    assert played.line.on_their_way == 1


def test_places_are_told_and_who_is_far_behind_asks_seldom(played):
    answers = [played.ask() for _ in range(100)]
    assert [answer.place for answer in answers] == list(range(1, 101))
    assert [answers[number].again for number in (0, 9, 10, 99)] == [1, 1, 2, LONGEST_PAUSE]


def test_who_is_served_a_page_has_a_place_by_that_and_who_never_comes_keeps_nobody_out(played):
    first, second, third = (played.come() for _ in range(3))
    played.free = 2
    assert isinstance(played.ask(first), Admission)
    assert isinstance(played.ask(second), Admission)
    played.line.come(1)
    played.free = 1  # one of them has it
    assert isinstance(played.ask(third), Place)
    (third,) = played.wait(ADMISSION_SECONDS + 1, third)
    assert isinstance(played.ask(third), Admission)


def test_who_is_late_to_ask_lets_others_go_first_and_keeps_the_place(played):
    first, second = played.come(), played.come()
    (second,) = played.wait(1 + LATE_SECONDS + 0.5, second)
    played.free = 1
    assert isinstance(played.ask(second), Admission)
    assert played.ask(first).place == 1


def test_who_does_not_ask_again_loses_the_place(played):
    first = played.come()
    second = played.come()
    (second,) = played.wait(1 + LOST_SECONDS + 1, second)
    assert played.line.waiting == 1
    assert played.ask(first).place == 2
    assert played.ask(second).place == 1


def test_places_survive_the_launcher(played):
    tickets = [played.come() for _ in range(3)]
    played.restart(seconds=20)
    assert played.ask(tickets[2]).place == 1, "the others have not asked yet"
    assert played.ask(tickets[0]).place == 1
    assert played.ask(tickets[1]).place == 2
    assert played.ask(tickets[2]).place == 3


def test_a_place_that_was_lost_before_is_not_had_again_by_a_new_launcher(played):
    old = played.come()
    played.now += AWAY_SECONDS + 10
    young = played.come()
    played.restart()
    assert played.ask(young).place == 1
    assert played.ask(old).place == 2
    played.restart()
    played.now += AGAIN_SECONDS + 1
    assert played.ask(young).place == 1
    assert played.line.waiting == 1


@pytest.mark.parametrize("of", ["another app", "another site", "nobody", "an admission", "too long"])
def test_a_ticket_that_is_none_is_worth_nothing(played, of):
    other = Played(tokens.key_of("other", b"k" * 32) if of == "another app" else tokens.key_of("app", b"x" * 32))
    fields = ("1", "first", str(int(played.now * 1000)))
    ticket = {
        "nobody": "t.1.first.9999999999999." + "0" * tokens.SIGNATURE,
        "an admission": tokens.make(KEY, tokens.ADMISSION, *fields),
        "too long": tokens.make(KEY, tokens.TICKET, *fields[:2], fields[2].zfill(tokens.LONGEST)),
    }.get(of) or other.come()
    played.come()
    assert played.ask(ticket).place == 2
    assert played.ask(tokens.make(KEY, tokens.TICKET, *fields)).place == 1, "a good one is"


@pytest.mark.parametrize("fields", [("x", "a", "1"), ("1", "a", "x"), ("1", "a"), ("1", "a", "1", "1"), ()])
def test_an_app_that_signs_nonsense_breaks_nothing(played, fields):
    """It knows its own key."""
    assert isinstance(played.ask(tokens.make(KEY, tokens.TICKET, *fields)), Place)


def test_there_is_an_end_to_those_who_may_wait(played):
    first = played.come()
    for _ in range(MOST - 1):
        played.ask()
    assert played.ask() == TooMany(LONGEST_PAUSE)
    assert played.ask(first).place == 1
