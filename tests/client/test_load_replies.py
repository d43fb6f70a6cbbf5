"""What comes is matched by what it is: in any order, joined or apart, early or late."""

import asyncio

import pytest

from shiny_sticky.client.load.replies import Replies


def marks(*names: str) -> frozenset[str]:
    return frozenset(names)


def all_of(replies: Replies) -> float:
    return asyncio.run(replies.all(0.01))


def test_the_last_of_what_is_waited_for_tells_how_long_it_took():
    for order in (("a", "b"), ("b", "a")):
        replies = Replies()
        replies.sent(10.0, marks("a", "b"))
        replies.came(marks(order[0]), 10.2)
        replies.came(marks("other"), 10.4)
        replies.came(marks(order[1]), 10.5)
        replies.came(marks("a"), 11.0)
        assert all_of(replies) == pytest.approx(0.5)
    replies = Replies()
    replies.sent(10.0, marks("a", "b"))
    replies.came(marks("a", "b"), 10.3)
    assert all_of(replies) == pytest.approx(0.3), "both in one message"


def test_what_has_not_come_is_named():
    replies = Replies()
    replies.sent(10.0, marks("a", "b"))
    replies.came(marks("a"), 10.2)
    with pytest.raises(TimeoutError):
        all_of(replies)
    assert replies.missing == ["b"]


def test_an_answer_that_comes_before_the_next_of_several_actions_counts_for_the_one_before():
    replies = Replies()
    replies.sent(10.0, marks())
    replies.came(marks("a"), 10.1)
    replies.sent(12.0, marks("a", "b"))
    replies.came(marks("b"), 12.05)
    assert all_of(replies) == pytest.approx(0.1)


def test_an_answer_to_the_last_action_is_none_to_the_next():
    replies = Replies()
    replies.sent(10.0, marks("a"))
    replies.came(marks("a"), 10.1)
    replies.came(marks("a"), 10.2)
    assert all_of(replies) == pytest.approx(0.1)
    replies.sent(12.0, marks("a"))
    with pytest.raises(TimeoutError):
        all_of(replies)


def test_what_comes_once_may_be_there_long_before_it_is_waited_for():
    replies = Replies()
    replies.sent(10.0, marks("the connection"))
    replies.came(marks("the connection"), 10.1)
    replies.came(marks("config", "a"), 10.3)
    replies.sent(11.0, marks("config"))
    assert all_of(replies) == pytest.approx(0.3)
    replies.sent(12.0, marks("a"))
    assert replies.missing == ["a"]
