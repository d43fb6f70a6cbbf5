"""Whatever is sent, acknowledged, cut and resumed, in whatever order: both ends get all of it, once and in order.

The model of each direction is a list: what was sent. What has been taken is its beginning, and what is kept to be
sent again starts no later than that. Both real ends are held to it after each step; no real time passes.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiny_sticky.worker.resume.session import UNKNOWN_SECONDS, Limits
from support import virtual_clock
from support.played_session import PATIENT, Node, PlayedSession, node

# Sequences that are tried; more by RESUME_EXAMPLES=10000.
EXAMPLES = int(os.environ.get("RESUME_EXAMPLES", "100"))

# Seconds of a good network after which nothing is left to say: a page notices silence after 14, and an attempt on a
# connection that is silent takes 10.
HEALED = 40

# Played seconds in which no session is given up: neither by a page, nor by the limits of the worker.
MOST_SECONDS = 240

# What happens, and on which of the connections, counted from the newest.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["page sends", "app sends", "to worker", "to page", "both ways"] * 3
            + ["reset", "closed", "silent", "clogged", "drained", "a second", "15 seconds", "computes", "online"]
            + ["put aside"]
        ),
        st.integers(0, 2),
    ),
    min_size=5,
    max_size=60,
)


@pytest.fixture(scope="module")
def page() -> Node:
    with node() as playing:
        yield playing


class Play:
    """A session, step by step."""

    def __init__(self, page: Node, limits: Limits = PATIENT) -> None:
        self.session = PlayedSession(page, limits)
        self._numbers = 0
        self._time = 0.0

    async def begin(self) -> None:
        """Open the first connection; one that fails is Shiny's to report, as ever."""
        await self.do("to worker", 0)
        await self.do("to page", 0)
        assert self.session.page["opened"]

    async def do(self, step: str, which: int) -> None:
        session = self.session
        line = session.lines[-1 - which % len(session.lines)]
        match step:
            case "page sends":
                session.page_sends(self._message())
            case "app sends":
                await session.app_sends(self._message())
            case "to worker":
                await session.arrives_at_worker(line)
            case "to page":
                session.arrives_at_page(line)
            case "both ways":
                await session.arrives_at_worker(line)
                session.arrives_at_page(line)
            case "reset" | "closed":
                line.lost(at_once=step == "reset")
            case "silent":
                line.fall_silent()
            case "clogged":
                line.drained.clear()
            case "drained":
                line.drained.set()
            case "a second" | "15 seconds" | "computes" if self._time > MOST_SECONDS:
                pass
            case "a second":
                await self._passes(1)
            case "15 seconds":
                await self._passes(15)
            case "computes":
                self._time += 20
                await session.computes(20)
            case "online":
                session.ask("event", name="online")
            case "put aside":
                session.ask("event", name="pagehide")
                session.ask("event", name="pageshow")

    async def _passes(self, seconds: float) -> None:
        self._time += seconds
        await self.session.passes(seconds)

    def _message(self) -> dict:
        """Another message; each third is binary."""
        self._numbers += 1
        return (
            {"hex": self._numbers.to_bytes(2, "big").hex()}
            if self._numbers % 3 == 0
            else {"text": str(self._numbers)}
        )

    def agree(self) -> None:
        """Compare both ends with what was sent."""
        session, page = self.session, self.session.page
        assert session.ended is None, f"the page was told that the session has ended: {session.ended}"
        assert page["next"] == len(session.sent)
        assert page["expected"] == len(session.taken)
        for each in session.apps:
            assert each.taken == session.sent[: len(each.taken)]
        app = session.app
        assert session.taken == (app.sent[: len(session.taken)] if app else [])
        assert page["first"] <= (len(app.taken) if app else 0)

    async def heal(self) -> None:
        """Have a good network, and compare both ends when neither has anything left to say."""
        await self.session.heal(HEALED, self._nothing_is_left)
        self.agree()
        app, page = self.session.app, self.session.page
        assert page["carried"] and app is not None
        assert self.session.taken == app.sent
        assert app.taken == self.session.sent
        assert self._nothing_is_left()

    def _nothing_is_left(self) -> bool:
        """Whether both ends know that all has come."""
        app, page = self.session.app, self.session.page
        if app is None or not page["carried"] or page["first"] < page["next"] or not app.wanted.empty():
            return False
        return app.session._outgoing.first == app.session._outgoing.next == len(self.session.taken)


async def played(page: Node, steps: list[tuple[str, int]]) -> None:
    play = Play(page)
    await play.begin()
    for step, which in steps:
        await play.do(step, which)
        play.agree()
    await play.heal()


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_nothing_is_lost_doubled_or_moved(page, steps):
    virtual_clock.run(played(page, steps))


@pytest.mark.parametrize("how", ["reset", "closed", "silent"])
def test_a_session_whose_first_connection_is_lost_at_once_begins_anew(page, how):
    """Before the page has heard how it is resumed."""

    async def scenario():
        play = Play(page)
        await play.begin()
        await play.do("page sends", 0)
        assert play.session.app is None
        await play.do(how, 0)
        if how == "closed":  # all that was on its way is lost but the end
            play.session.lines[0].to_page.popleft()
        await play.do("page sends", 0)
        await play.heal()
        assert len(play.session.lines) > 1 and len(play.session.sent) == 2

    virtual_clock.run(scenario())


def test_a_handshake_that_comes_late_throws_nobody_out(page):
    """The page has given it up for a further one, which was answered, and the answer's secret is not used yet."""

    async def scenario():
        play = Play(page)
        await play.begin()
        await play.do("to page", 0)  # how it is resumed
        await play.do("to worker", 0)  # that it has heard so
        await play.do("a second", 0)
        await play.do("online", 0)  # it asks, on the first connection
        await play.do("to worker", 0)
        for _ in range(3):
            await play.do("a second", 0)  # in which no answer comes: it connects anew
        late = play.session.lines[1]
        await play.do("to worker", 0)
        await play.do("to page", 0)
        play.session.arrives_at_page(play.session.lines[0])  # the answer: the first one carries on
        assert late.page_closes and len(late.to_worker) == 2

        await play.do("reset", 1)
        await play.do("to page", 1)
        for _ in range(2):
            await play.do("both ways", 0)
        assert play.session.page["carried"]
        await play.session.arrives_at_worker(late)
        await play.heal()

    virtual_clock.run(scenario())


# Of a site whose settings say nothing of it.
USUAL = Limits(timeout=300, buffer=1 << 22)


async def is_away(play: Play, seconds: float) -> None:
    """Both ends lose the connection at once, and no other one comes about for some time."""
    await play.do("reset", 0)
    await play.do("both ways", 0)
    for _ in range(int(seconds)):
        await play.do("a second", 0)


def test_a_session_that_its_page_never_heard_of_is_over_soon(page):
    """The page has begun another one, which goes on."""

    async def scenario():
        play = Play(page, USUAL)
        await play.begin()
        await is_away(play, 0)
        await play.heal()
        left, used = play.session.apps
        for second in range(int(UNKNOWN_SECONDS) + 2):
            assert left.session.ended is None or second >= UNKNOWN_SECONDS
            await play.do("a second", 0)
            await play.heal()
        assert left.session.ended is not None and used.session.ended is None

    virtual_clock.run(scenario())


@pytest.mark.parametrize("seconds", [UNKNOWN_SECONDS - 5, UNKNOWN_SECONDS + 60])
def test_a_page_that_has_heard_of_its_session_gets_it_back(page, seconds):
    """Long after, if it could say that it has; if even that was lost, while it can be expected to come back."""

    async def scenario():
        play = Play(page, USUAL)
        await play.begin()
        await play.do("to page", 0)  # how it is resumed
        if seconds > UNKNOWN_SECONDS:
            await play.do("to worker", 0)
        await is_away(play, seconds)
        await play.heal()
        await is_away(play, UNKNOWN_SECONDS + 60)  # of what it has said since, the worker knows
        await play.heal()
        assert play.session.ended is None and len(play.session.apps) == 1

    virtual_clock.run(scenario())
