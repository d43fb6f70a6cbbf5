"""What a slot decides: hours of a worker's life in a moment, by a clock that jumps. Its processes are played.

That real processes do what these do is for the other files in this folder.
"""

import asyncio
import contextlib
import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiny_sticky.errors import StartFailed
from shiny_sticky.settings.model import AppSettings
from shiny_sticky.settings.process_model import RecycleSettings
from shiny_sticky.supervision.incarnation import Incarnation
from shiny_sticky.supervision.pool import FOLDERS, Pool
from shiny_sticky.supervision.recycling import RecycleTurn
from shiny_sticky.supervision.slot import Slot
from support import virtual_clock


def now() -> float:
    return asyncio.get_running_loop().time()


class Played(Incarnation):
    """A process that ends, hangs or goes on as its test says."""

    def __init__(self, number: int, hangs_after: float = float("inf"), sessions: int = 0) -> None:
        self.name, self.worker, self.pid = f"app1.{number:04}", "app1", number
        self.alive, self.exit_code = True, None
        self.sessions = self.expected = 0
        self.sessions_served = sessions
        self._beyond_limits = ""
        self.drained = self.aborted = False
        self._born, self._died, self._hangs_after = now(), None, hangs_after
        self._news = asyncio.Event()
        self._on_left = lambda _: None
        self._heart = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while now() - self._born < self._hangs_after:
            await asyncio.sleep(1)
            self.notify()

    @property
    def uptime(self) -> float:
        return (self._died or now()) - self._born

    def end(self, code: int = 1) -> None:
        self._heart.cancel()
        self.alive, self.exit_code, self._died = False, code, now()
        self._on_left(self)
        self.notify()

    def drain(self, on_left=None) -> None:
        self.drained, self._on_left = True, on_left

    async def abort(self) -> None:
        self.aborted = True
        self.end(-6)

    def kill(self) -> None:
        self.end(-9)


class Scene:
    """A slot, what it said and when, and the processes that it started."""

    def __init__(self, turn: RecycleTurn | None = None, **app) -> None:
        self.app = AppSettings.model_construct(**{"hang_timeout": 300, "recycle": RecycleSettings(), **app})
        self.app_name = "app"
        self.processes: list[Played] = []
        self.starts: list[float] = []
        self.failing = False
        self.said: list[tuple[float, str]] = []
        self.options: dict = {}
        self.folder = tempfile.TemporaryDirectory(prefix="st-")
        output = SimpleNamespace(event=self.say, problem=self.say, relay=lambda name, line: self.say(line))
        run_dir = SimpleNamespace(link=lambda name: None)
        self.deploying = asyncio.Lock()
        for name in FOLDERS:
            (Path(self.folder.name) / name).mkdir()
        pool = Pool("app", Path(self.folder.name), seats=1)
        self.slot = Slot("app1", self, run_dir, pool, output, turn or RecycleTurn(), self.deploying)

    def say(self, text: str) -> None:
        self.said.append((now(), text))

    def heard(self, text: str) -> list[float]:
        return [at for at, said in self.said if text in said]

    async def start(self, worker: str, waiting: None = None) -> Played:
        """As a release does."""
        self.starts.append(now())
        await asyncio.sleep(1)
        if self.failing:
            raise StartFailed("App app: app1 exited with code 1 before it answered.")
        self.processes.append(Played(len(self.processes) + 1, **self.options))
        return self.processes[-1]

    @contextlib.asynccontextmanager
    async def kept_filled(self):
        await self.slot.fill()
        keeper = asyncio.create_task(self.slot.keep_filled())
        yield self
        keeper.cancel()
        for process in self.processes:
            process._heart.cancel()


def on_a_clock_that_jumps(test):
    """Let pytest run a coroutine function."""

    def run() -> None:
        virtual_clock.run(test())

    run.__name__ = test.__name__
    return run


@on_a_clock_that_jumps
async def test_a_process_that_ends_is_replaced_at_once():
    async with Scene().kept_filled() as scene:
        await asyncio.sleep(100)
        scene.processes[0].end()
        await asyncio.sleep(10)
        assert scene.slot.current is scene.processes[1]
        assert scene.starts == [0, 101]
        assert scene.slot.restarts == 1


@on_a_clock_that_jumps
async def test_a_slot_that_cannot_be_filled_is_tried_again_with_growing_delay():
    async with Scene().kept_filled() as scene:
        await asyncio.sleep(100)
        scene.failing = True
        scene.processes[0].end()
        await asyncio.sleep(200)
        pauses = [after - before - 1 for before, after in itertools.pairwise(scene.starts[1:])]
        assert pauses[:9] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        scene.failing = False
        await asyncio.sleep(60)
        assert scene.slot.current.alive


@on_a_clock_that_jumps
async def test_a_deploy_fills_a_slot_that_waits_and_what_it_brings_is_watched():
    async with Scene().kept_filled() as scene:
        scene.failing = True
        scene.processes[0].end()
        await asyncio.sleep(100)
        other = Scene()
        await scene.slot.replace(other)
        assert scene.slot.current is other.processes[0]
        other.processes[0].end()
        await asyncio.sleep(60)
        assert scene.slot.current is other.processes[1]


@pytest.mark.parametrize("hang_timeout", [300, 0])
def test_a_process_that_hangs_is_ended_and_replaced_unless_it_may(hang_timeout):
    async def hang():
        async with Scene(hang_timeout=hang_timeout).kept_filled() as scene:
            scene.options = {"hangs_after": 50}
            await scene.slot.replace(scene)
            hung = scene.slot.current
            await asyncio.sleep(1000)
            assert hung.aborted == (hang_timeout > 0)
            assert (hung is not scene.slot.current) == (hang_timeout > 0)
            if hang_timeout:
                assert scene.heard("has hung for 300 s")[0] == pytest.approx(2 + 50 + 300, abs=2)

    virtual_clock.run(hang())


@on_a_clock_that_jumps
async def test_an_old_process_is_recycled_and_drains():
    async with Scene(recycle=RecycleSettings(lifetime=3600)).kept_filled() as scene:
        await asyncio.sleep(3590)
        assert len(scene.processes) == 1
        await asyncio.sleep(20)
        old, new = scene.processes
        assert (scene.slot.current, scene.slot.draining, old.drained) == (new, {old}, True)
        old.end(0)
        assert scene.slot.draining == set()
        assert scene.heard("has left")
        assert scene.slot.restarts == 0


@on_a_clock_that_jumps
async def test_nothing_is_recycled_during_a_deploy():
    async with Scene(recycle=RecycleSettings(lifetime=3600)).kept_filled() as scene:
        async with scene.deploying:
            await asyncio.sleep(7200)
        assert len(scene.processes) == 1
        await asyncio.sleep(20)
        assert len(scene.processes) == 2


@on_a_clock_that_jumps
async def test_the_slots_of_an_app_are_recycled_one_after_another():
    turn = RecycleTurn()
    scenes = [Scene(turn, recycle=RecycleSettings(lifetime=60)) for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for scene in scenes:
            await stack.enter_async_context(scene.kept_filled())
        await asyncio.sleep(75)
        starts = sorted(scene.starts[1] for scene in scenes)
        assert all(after - before >= 1 for before, after in itertools.pairwise(starts))


@on_a_clock_that_jumps
async def test_after_a_failure_the_app_is_left_alone_for_a_while():
    async with Scene(recycle=RecycleSettings(lifetime=60)).kept_filled() as scene:
        scene.failing = True
        await asyncio.sleep(120)
        assert scene.slot.current is scene.processes[0]
        assert len(scene.heard("is replaced")) == 2, "at 61 s, and 30 s later"


@on_a_clock_that_jumps
async def test_a_retired_slot_stays_empty():
    async with Scene().kept_filled() as scene:
        scene.slot.retire()
        assert scene.processes[0].drained
        scene.processes[0].end(0)
        await asyncio.sleep(100)
        assert len(scene.processes) == 1
        assert scene.slot.current is None


# --- each session in a process of its own


def with_session(process: Played, sessions: int) -> None:
    """Let a process say that it has served its one session, which goes on or not."""
    process.sessions, process.sessions_served = sessions, 1
    process.on_load(0, 1)
    process.notify()


@on_a_clock_that_jumps
async def test_a_process_ends_with_its_session_and_another_follows_which_is_no_failure():
    async with Scene(isolation="session").kept_filled() as scene:
        for number in range(5):
            process = scene.slot.current
            with_session(process, 1)
            await asyncio.sleep(5)
            assert scene.slot.current is process
            with_session(process, 0)
            await asyncio.sleep(1.5)
            assert scene.slot.current is scene.processes[number + 1], "at once, though others were short-lived"
            assert process.drained
            process.end(0)
        assert scene.slot.restarts == 0
        assert scene.said == []


@on_a_clock_that_jumps
async def test_where_others_do_a_slot_is_let_go_with_its_session():
    async with Scene(isolation="session").kept_filled() as scene:
        scene.slot.let_go = lambda: scene.slot.retire() or True
        with_session(scene.slot.current, 1)
        await asyncio.sleep(5)
        assert scene.slot.current is not None
        with_session(scene.slot.current, 0)
        await asyncio.sleep(5)
        assert scene.slot.current is None
        assert scene.processes[0].drained
        assert len(scene.processes) == 1


@on_a_clock_that_jumps
async def test_a_process_that_cannot_be_followed_stays_for_pages_and_that_is_tried_again():
    async with Scene(isolation="session").kept_filled() as scene:
        scene.failing = True
        with_session(scene.slot.current, 0)
        await asyncio.sleep(60)
        assert scene.slot.current is scene.processes[0]
        assert not scene.processes[0].drained
        assert len(scene.starts) == 1 + 2, "at once, and 30 s later"
        scene.failing = False
        await asyncio.sleep(60)
        assert scene.slot.current is scene.processes[1]


@on_a_clock_that_jumps
async def test_of_many_that_are_over_at_once_a_few_are_followed_at_a_time():
    turn = RecycleTurn()
    scenes = [Scene(turn, isolation="session") for _ in range(10)]
    async with contextlib.AsyncExitStack() as stack:
        for scene in scenes:
            await stack.enter_async_context(scene.kept_filled())
        for scene in scenes:
            with_session(scene.slot.current, 0)
        await asyncio.sleep(10)
        starts = sorted(scene.starts[1] for scene in scenes)
        assert [starts.count(at) for at in dict.fromkeys(starts)] == [4, 4, 2]


@on_a_clock_that_jumps
async def test_a_deploy_replaces_one_that_is_over_once():
    async with Scene(isolation="session").kept_filled() as scene:
        other = Scene(isolation="session")
        replacing = asyncio.create_task(scene.slot.replace(other))
        await asyncio.sleep(0.5)
        with_session(scene.slot.current, 0)
        await replacing
        await asyncio.sleep(10)
        assert scene.slot.current is other.processes[0]
        assert (len(scene.processes), len(other.processes)) == (1, 1)
