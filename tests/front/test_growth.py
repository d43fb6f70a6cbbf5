"""A configuration with a thousand workers is as good as one with a hundred: ten times as long, no more."""

import re
import resource
from pathlib import Path

import pytest

from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.front.patterns import incarnations_pattern, numbers_pattern
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.names import worker_names
from shiny_sticky.settings.workers import MOST_WORKERS
from support.real_site import NGINX

# The most that the settings allow one app; a thousand names are four such apps.
MOST = MOST_WORKERS


@pytest.fixture(scope="module")
def program() -> nginx_program.Nginx:
    return nginx_program.find(NGINX)


def settings(folder: Path, names: int) -> Settings:
    """Four apps that have so many workers together."""
    (folder / "run" / "tmp").mkdir(parents=True, exist_ok=True)
    apps = {app: {"target": "a:b", "path": f"/{app}/", "workers": names // 4} for app in ("a", "b", "c", "d")}
    return Settings.model_validate({"apps": apps}, context={"folder": folder})


def test_the_text_grows_in_a_straight_line(tmp_path, program):
    def size(names: int) -> int:
        return len(configuration.render(settings(tmp_path, names), program, "for a test"))

    hundred, step = size(100), size(200) - size(100)
    assert size(1000) < hundred + 9 * 1.1 * step, "a tenth more for names of more digits"


def test_nginx_tests_a_thousand_names_as_fast_as_a_hundred_ten_times(tmp_path, program):
    def seconds(names: int) -> float:
        chosen = settings(tmp_path, names)
        text = configuration.render(chosen, program, "for a test")
        return min(used(lambda: configuration.check(chosen, text, program)) for _ in range(3))

    assert seconds(1000) < 10 * seconds(100)


def used(run) -> float:
    """The CPU time of the programs that something runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("workers", [1, 9, 10, 12, 99, 100, 101, 199, 255, MOST])
def test_the_patterns_match_every_worker_that_the_settings_allow_and_no_other(workers):
    names = re.compile(f"app{numbers_pattern(workers)}")
    matched = [name for name in [f"app{number}" for number in range(3000)] if names.fullmatch(name)]
    assert matched == worker_names("app", workers)
    assert not names.fullmatch("app01")


def test_an_incarnation_of_any_worker_that_the_settings_allow_or_did_before_a_deploy_is_found():
    pattern = re.compile(incarnations_pattern("app", ["app"]))
    assert all(pattern.fullmatch(f"{name}.k3f9") for name in worker_names("app", MOST))


def test_a_number_of_four_digits_takes_other_patterns():
    """Who lets the settings go beyond three digits must widen them; this says so."""
    assert MOST <= 999
    assert not re.fullmatch(incarnations_pattern("app", ["app"]), "app1000.k3f9")
