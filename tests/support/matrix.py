"""What Shiny has, used in a browser in four ways: each must show the same as the first, which is `shiny run`.

A scenario is a generator: it drives one tab, yields once in its middle, and returns what it observed as plain data:

    @as_under_shiny_run("counter.py")
    def test_a_counter_counts(tab):
        page = tab.open()
        page.locator("#more").click()
        yield
        page.locator("#more").click()
        return page.locator("#count").inner_text()

That makes four tests, one a way. At the `yield`, the way `deploy` replaces every process of the site, with the tab
open and its session alive. One deploy does for all scenarios of a file: each is played to its middle before.
There are more ways for those that ask for them: `restart` replaces the one process that has the session, and in
`crowded` other sessions of its process change something all the time.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from support.browser import Visitor, without_cookies
from support.real_site import APPS, Site
from support.shiny_run import ShinyRun
from support.shiny_session import ShinySession
from support.tab import Tab, process, session_id

WAYS = ("shiny_run", "launcher", "deploy", "cookies_blocked")
WORKERS = 2
FEATURES = APPS / "features"

Scenario = Callable[[Tab], Generator[None, None, Any]]


@dataclass(frozen=True, eq=False)
class Feature:
    """A scenario, the app that it is for (a file in tests/apps/features), and the app's environment."""

    scenario: Scenario
    app: str
    env: dict[str, str]

    @property
    def name(self) -> str:
        """The app's name in the settings; what is served for several scenarios is served once."""
        return Path(self.app).stem


@dataclass(frozen=True)
class Observed:
    """What a scenario has returned, and what the browser's console had to complain of."""

    returned: Any
    complaints: set[str]


class Play:
    """A scenario while it is played: up to its middle, and to its end."""

    def __init__(self, feature: Feature, visitor: Visitor, url: str, printed: list[str]) -> None:
        self.tab = Tab(visitor, url, printed)
        self._steps = feature.scenario(self.tab)
        self._session = ""
        self._failure: Exception | None = None

    def to_the_middle(self) -> None:
        """Play it up to its `yield`. What goes wrong is raised at the end: others are played meanwhile."""
        try:
            next(self._steps)
            self._session = session_id(self.tab.page)
        except Exception as error:
            self._failure = error

    def to_the_end(self) -> Observed:
        """Play the rest, with the session in which it was begun.

        Raises:
            Exception: whatever went wrong in either half.
        """
        try:
            if self._failure is not None:
                raise self._failure
            assert session_id(self.tab.page) == self._session
            assert self.tab.page.evaluate("Shiny.shinyapp.isConnected()")
            next(self._steps)
        except StopIteration as end:
            self.tab.leave()
            return Observed(end.value, self.tab.complaints)
        except Exception as error:
            for line in (*sorted(self.tab.complaints), "The server has printed:", *self.tab.printed[-20:]):
                error.add_note(line)
            raise
        raise AssertionError("a scenario yields once, and then returns what it has observed")


class Matrix:
    """A site with the apps of some features, a `shiny run` of each, and visitors for both; a context manager.

    Args:
        browser: for those who take cookies.
        features: each with the ways in which it is wanted.
    """

    def __init__(self, browser: Browser, features: list[tuple[Feature, str]]) -> None:
        self._browser = browser
        self._wanted = features
        self._folder = Path(tempfile.mkdtemp(prefix="st-matrix-", dir="/tmp"))
        self._under_shiny_run: dict[str, ShinyRun] = {}
        self._observed: dict[Feature, Observed | Exception] = {}
        self._deployed: dict[Feature, Play] | None = None
        self._cookieless: Visitor | None = None
        self._site: Site | None = None

    def __enter__(self) -> Matrix:
        apps = {feature.name: feature for feature, _ in self._wanted}
        for name, feature in apps.items():
            file = self._copy(name) / feature.app
            self._under_shiny_run[name] = ShinyRun(file, feature.env)
        if any(way != "shiny_run" for _, way in self._wanted):
            here = self._copy("site")
            self._site = Site(
                {
                    name: {
                        "target": str(here / feature.app),
                        "path": f"/{name}/",
                        "workers": WORKERS,
                        "env": feature.env,
                        "start_timeout": 180,
                    }
                    for name, feature in apps.items()
                }
            ).start(timeout=180)
        return self

    def __exit__(self, *_: object) -> None:
        for play in (self._deployed or {}).values():
            play.tab.leave()
        if self._cookieless is not None:
            self._cookieless.leave()
        if self._site is not None:
            self._site.__exit__()
        for server in self._under_shiny_run.values():
            server.stop()
        shutil.rmtree(self._folder)

    def _copy(self, name: str) -> Path:
        """The apps in a folder of a server's own: some write files."""
        return shutil.copytree(FEATURES, self._folder / name)

    # --- the ways

    def observe(self, feature: Feature, way: str) -> Observed:
        """Play a feature's scenario in one of the ways.

        Raises:
            Exception: whatever goes wrong in it.
        """
        if way == "shiny_run":
            return self._as_it_should_be(feature)
        if way == "deploy":
            return self._over_a_deploy(feature)
        midway = self._restart if way == "restart" else lambda _: None
        visitor = self._without_cookies() if way == "cookies_blocked" else self._visitor()
        with self._crowd(feature) if way == "crowded" else contextlib.nullcontext():
            observed = self._play(feature, visitor, self._url(feature), self._site.lines, midway)
        assert bool(visitor.context.cookies()) == (way != "cookies_blocked")
        return observed

    def _as_it_should_be(self, feature: Feature) -> Observed:
        if feature not in self._observed:
            server = self._under_shiny_run[feature.name]
            try:
                self._observed[feature] = self._play(feature, self._visitor(), server.url, server.lines)
            except Exception as error:
                self._observed[feature] = error
        if isinstance(observed := self._observed[feature], Exception):
            raise observed
        return observed

    @staticmethod
    def _play(
        feature: Feature,
        visitor: Visitor,
        url: str,
        printed: list[str],
        midway: Callable[[Tab], None] = lambda _: None,
    ) -> Observed:
        play = Play(feature, visitor, url, printed)
        try:
            play.to_the_middle()
            midway(play.tab)
            return play.to_the_end()
        finally:
            play.tab.leave()

    def _over_a_deploy(self, feature: Feature) -> Observed:
        if self._deployed is None:
            wanted = [feature for feature, way in self._wanted if way == "deploy"]
            self._deployed = {
                feature: Play(feature, self._visitor(), self._url(feature), self._site.lines) for feature in wanted
            }
            for play in self._deployed.values():
                play.to_the_middle()
            self._deploy()
        return self._deployed[feature].to_the_end()

    def _deploy(self) -> None:
        """Replace every process, and see that the open sessions are where they were."""
        workers = [f"{feature.name}{n + 1}" for feature, _ in self._wanted for n in range(WORKERS)]
        pids = {worker: self._site.pid(worker) for worker in workers}
        deployed = self._site.command("reload", str(self._site.config), timeout=240)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert [worker for worker, pid in pids.items() if self._site.pid(worker) == pid] == []

    def _restart(self, tab: Tab) -> None:
        """Replace the process that has a tab's session, which stays there."""
        worker = process(tab.page).partition(".")[0]
        pid = self._site.pid(worker)
        restarted = self._site.command("restart", worker, str(self._site.config), timeout=240)
        assert restarted.returncode == 0, restarted.stdout + restarted.stderr
        assert self._site.pid(worker) != pid

    @contextlib.contextmanager
    def _crowd(self, feature: Feature) -> Iterator[None]:
        """In each process of an app a session that sends something all the time, and has all flushed."""
        with contextlib.ExitStack() as open_tabs, neighbours() as crowd:
            while len({neighbour.incarnation for neighbour in crowd}) < WORKERS:
                crowd.append(open_tabs.enter_context(ShinySession(self._site.port, f"/{feature.name}/")))
            yield

    # --- visitors

    def _url(self, feature: Feature) -> str:
        return f"http://127.0.0.1:{self._site.port}/{feature.name}/"

    def _visitor(self) -> Visitor:
        return Visitor(self._browser)

    def _without_cookies(self) -> Visitor:
        """One for all: each takes a program of its own."""
        if self._cookieless is None:
            self._cookieless = Visitor(without_cookies(self._browser, self._folder / "profile"))
        return self._cookieless


@contextlib.contextmanager
def neighbours() -> Iterator[list[ShinySession]]:
    """A list; the sessions in it send something that their app does not know, each twenty times a second."""
    sessions: list[ShinySession] = []
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            for session in list(sessions):
                session.update(nothing_of_the_apps=number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sessions
    finally:
        stop.set()
        thread.join()


def as_under_shiny_run(
    app: str, *, quick: bool = False, env: dict[str, str] | None = None, also: tuple[str, ...] = ()
) -> Any:
    """Make four tests of a scenario: what is observed, and complained of, is the same as under `shiny run`.

    Args:
        app: its file, in tests/apps/features.
        quick: whether it is tested when time matters, too: in one way then, through a deploy.
        env: environment variables for the app.
        also: further ways.
    """

    def test_of(scenario: Scenario) -> Any:
        feature = Feature(scenario, app, env or {})

        # Of one scope with the site, so that pytest plays all scenarios of a file in one way after the other.
        @pytest.mark.parametrize("way", [_when_there_is_time(way, quick) for way in (*WAYS, *also)], scope="module")
        def test(matrix: Matrix, way: str) -> None:
            expected = matrix.observe(feature, "shiny_run")
            observed = matrix.observe(feature, way)
            assert observed.returned == expected.returned
            assert observed.complaints <= expected.complaints

        test.__name__, test.__doc__, test.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
        test.feature = feature
        return test

    return test_of


def _when_there_is_time(way: str, quick: bool) -> Any:
    """A way as a test's parameter."""
    return way if quick and way == "deploy" else pytest.param(way, marks=pytest.mark.slow)
