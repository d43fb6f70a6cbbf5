"""Where the next visitors of an app come to: the links of its seats, followed one after another, as nginx does.

That nginx follows them so is for tests/front/test_seats.py.
"""

import contextlib
import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from shiny_sticky.supervision.pool import FOLDERS, NEXT, PAGES, WAY_SECONDS, Pool
from support import virtual_clock
from support.virtual_clock import heard


class Played:
    """A pool, and visitors who come by its seats; what workers say of them is heard when the test says so.

    Args:
        folder: for the links.
        workers: how many.
        seats: how many; one a worker if that is None.
    """

    def __init__(self, folder: Path, workers: int, seats: int | None = None) -> None:
        self.folder = folder
        self.folders = [folder / name for name in FOLDERS]
        for each in self.folders:
            each.mkdir()
        self.now = 0.0
        self.workers = [f"app{number}" for number in range(1, workers + 1)]
        self.pool = Pool("app", folder, seats or workers, lambda: self.now)
        for worker in self.workers:
            self.pool.add(worker)
        self.sessions = dict.fromkeys(self.workers, 0)
        self._taken = Counter()
        self._turn = itertools.cycle(range(1, (seats or workers) + 1))

    def leads_to(self, seat: int, folder: str = PAGES) -> str | None:
        """The worker that a seat leads to, or who takes over from there; None if it is no link."""
        link = self.folder / folder / f"app.{seat}.sock"
        if not link.is_symlink():
            return None
        name = str(link.readlink())
        assert name.startswith("../"), "to the worker's own link, which leads to its process"
        return name[len("../") :].removesuffix(".sock")

    def visit(self) -> str:
        """Let a new visitor come, whose session begins: gives the worker."""
        worker = next(found for seat in self._turn if (found := self.leads_to(seat)) is not None)
        self.sessions[worker] += 1
        self._taken[worker] += 1
        return worker

    async def say(self, *workers: str) -> None:
        """Let workers say what they have; all if none is named."""
        for worker in workers or self.workers:
            self.pool.report(worker, self.sessions[worker], 0, self._taken.pop(worker, 0), 0)
        await heard()

    async def visits(self, number: int) -> list[str]:
        """Visitors who come one after another, each heard of before the next: the workers in order."""
        found = []
        for _ in range(number):
            found.append(self.visit())
            await self.say(found[-1])
        return found

    def seats(self) -> Counter:
        """How many seats lead to each worker."""
        everywhere = (self.leads_to(seat) for seat in range(1, self.pool.seats + 1))
        return Counter(worker for worker in everywhere if worker is not None)

    def spread(self) -> int:
        return max(self.sessions.values()) - min(self.sessions.values())


def run(test):
    """Let pytest run a coroutine function, with its folder."""

    def on_a_loop(tmp_path):
        virtual_clock.run(test(tmp_path))

    on_a_loop.__name__ = test.__name__
    return on_a_loop


@run
async def test_with_as_many_sessions_everywhere_each_worker_has_its_seat_and_no_link_is_changed(folder):
    played = Played(folder, 4)
    changed = (folder / PAGES).stat().st_mtime_ns
    for _ in range(3):
        assert sorted(await played.visits(4)) == played.workers
    assert played.seats() == dict.fromkeys(played.workers, 1)
    assert (folder / PAGES).stat().st_mtime_ns == changed


@run
async def test_the_next_visitors_come_to_the_worker_with_the_fewest_sessions(folder):
    played = Played(folder, 4)
    await played.visits(40)
    played.sessions["app3"] = 4  # six visitors have left
    await played.say("app3")
    assert await played.visits(6) == ["app3"] * 6
    assert sorted(await played.visits(4)) == played.workers


@run
async def test_a_worker_that_is_new_has_them_all_until_it_has_as_many_as_the_others(folder):
    played = Played(folder, 2, seats=8)
    await played.visits(12)
    played.pool.add("app3")
    played.workers.append("app3")
    played.sessions["app3"] = 0
    assert await played.visits(6) == ["app3"] * 6
    assert sorted(await played.visits(3)) == played.workers


@pytest.mark.parametrize("seed", range(5))
def test_over_1000_sessions_the_spread_is_2_at_most_however_late_the_workers_say_so(tmp_path, seed):
    """Each worker says now and then what has come; a slow one is up to 60 visitors late, as on a busy machine."""

    async def burst() -> None:
        chance = random.Random(seed)
        played = Played(tmp_path, 8)
        due = dict.fromkeys(played.workers, 0)
        for number in range(1000):
            played.visit()
            for worker in played.workers:
                if number >= due[worker]:
                    due[worker] = number + chance.choice((1, 2, 5, 60))
                    await played.say(worker)
            assert played.spread() <= 2

    virtual_clock.run(burst())


@run
async def test_what_leaves_and_returning_visitors_are_made_up_for(folder):
    """Sessions end at random, and every third visitor names a worker; then the rest are even again."""
    chance = random.Random(1)
    played = Played(folder, 4)
    for number in range(400):
        worker = chance.choice(played.workers)
        if number % 3 == 0 or (number % 3 == 1 and not played.sessions[worker]):
            played.sessions[worker] += 1
        elif number % 3 == 1:
            played.sessions[worker] -= 1
        else:
            played.visit()
        await played.say()
    needed = sum(max(played.sessions.values()) - each for each in played.sessions.values())
    await played.visits(needed)
    assert played.spread() <= 1


@run
async def test_who_was_on_the_way_and_never_came_is_forgotten(folder):
    played = Played(folder, 4)
    first = [played.visit() for _ in range(3)]
    played.sessions[first[0]] = 0  # this one went away before it was heard of
    await played.say(first[2])
    await played.say(first[1])
    played.now += WAY_SECONDS
    nobody = [worker for worker in played.workers if not played.sessions[worker]]
    assert len(nobody) == 2
    assert sorted(await played.visits(2)) == nobody


@run
async def test_full_workers_have_no_seat_unless_all_are_full(folder):
    played = Played(folder, 2, seats=4)
    played.pool.limit = 3
    played.sessions["app1"] = 2
    await played.say()
    await played.visits(4)
    assert played.sessions == {"app1": 3, "app2": 3}
    assert played.seats() == {"app1": 2, "app2": 2}
    played.sessions["app2"] = 1
    await played.say()
    assert played.seats()["app2"] >= 2
    played.sessions["app2"] = 2
    await played.say()
    assert played.leads_to(1) or played.leads_to(2)
    assert await played.visits(1) == ["app2"]


@run
async def test_who_takes_over_from_a_seat_is_somebody_else(folder):
    played = Played(folder, 3, seats=9)
    await played.visits(7)
    played.sessions["app2"] = 0
    await played.say()
    with played.pool.without("app1"):
        pairs = {(played.leads_to(seat), played.leads_to(seat, folder=NEXT)) for seat in range(1, 10)}
        assert pairs == {("app2", "app3"), ("app3", "app2"), (None, None)}
    for seat in range(1, 10):
        assert played.leads_to(seat) != played.leads_to(seat, folder=NEXT)


@run
async def test_seats_are_as_many_for_each_worker_whatever_their_number(folder):
    played = Played(folder, 3, seats=8)
    assert set(played.seats().values()) == {2}
    with played.pool.without("app1"):
        assert played.seats() == {"app2": 4, "app3": 4}
    assert set(played.seats().values()) == {2}
    played.pool.resize(2)
    assert played.seats().total() == 2, "fewer seats than workers"
    played.pool.resize(4)
    assert set(played.seats().values()) == {1}
    assert played.leads_to(5) is None


@run
async def test_the_last_one_that_is_heard_is_never_left_out(folder):
    played = Played(folder, 3)
    with contextlib.ExitStack() as later:
        with played.pool.without("app1"):
            assert set(played.seats()) == {"app2", "app3"}
            later.enter_context(played.pool.without("app2"))
            assert set(played.seats()) == {"app3"}
            with played.pool.without("app3"):
                assert set(played.seats()) == set(played.workers)
            assert set(played.seats()) == {"app3"}
        assert set(played.seats()) == {"app1", "app3"}
    assert set(played.seats()) == set(played.workers)


@run
async def test_one_that_is_retired_is_out_for_good_and_counts_no_more(folder):
    played = Played(folder, 3)
    with played.pool.without("app1"), played.pool.without("app2"):
        played.pool.remove("app3")
        assert set(played.seats()) == {"app1", "app2"}, "there is nobody else now"
    await played.say("app3")
    assert set(played.seats()) == {"app1", "app2"}
    for worker in ("app1", "app2"):
        played.pool.remove(worker)
    assert [file for each in played.folders for file in each.iterdir()] == []


@run
async def test_what_an_app_makes_up_costs_little(folder):
    played = Played(folder, 4)
    played.pool.report("app1", 10**30, 10**30, 10**30, 10**30)
    await heard()
    assert "app1" not in played.seats()
