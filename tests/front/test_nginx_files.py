"""What the launcher does with nginx's program and files, each step by itself."""

import asyncio
import dataclasses
import gc
import os
from pathlib import Path

import pytest

from shiny_sticky.errors import StickyError
from shiny_sticky.front import configuration, nginx_program
from shiny_sticky.front.nginx_process import Front
from shiny_sticky.settings.model import Settings
from shiny_sticky.settings.workers import WorkerRange
from support.real_site import NGINX


@pytest.fixture
def settings(tmp_path) -> Settings:
    (tmp_path / "run" / "tmp").mkdir(parents=True)
    return Settings.model_validate({"apps": {"app": {"target": "a:b"}}}, context={"folder": tmp_path})


@pytest.fixture(scope="module")
def program() -> nginx_program.Nginx:
    return nginx_program.find(NGINX)


def test_nginx_that_cannot_be_run_is_an_error_to_be_read_and_costs_no_descriptor(settings, program):
    """As while its package is upgraded."""
    gone = dataclasses.replace(program, path="/nowhere/nginx")
    front = Front(gone, settings.nginx.conf, settings.run_dir, print)

    async def start() -> None:
        gc.collect()
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(StickyError, match=r"/nowhere/nginx.* cannot be started: No such file"):
            await front.start()
        assert front.pid is None
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    asyncio.run(start())


def test_a_check_leaves_no_file(settings, program):
    configuration.check(settings, configuration.render(settings, program, "for a test"), program)
    with pytest.raises(StickyError, match="nginx does not accept the configuration"):
        configuration.check(settings, "nonsense;", program)
    assert list(settings.nginx.conf.parent.iterdir()) == []


def test_a_configuration_that_nginx_refuses_is_not_installed(settings, program):
    text = configuration.render(settings, program, "for a test")
    assert configuration.install(settings, text, program) is True
    assert configuration.install(settings, text, program) is False
    with pytest.raises(StickyError, match="nginx does not accept the configuration"):
        configuration.install(settings, "nonsense;", program)
    assert settings.nginx.conf.read_text() == text
    assert [file.name for file in settings.nginx.conf.parent.iterdir()] == ["sticky.conf"]


def test_the_waiting_page_can_be_read_by_nginxs_user(settings, program):
    before = os.umask(0o077)
    try:
        configuration.install(settings, configuration.render(settings, program, "for a test"), program)
    finally:
        os.umask(before)
    assert (settings.run_dir / "unavailable.html").stat().st_mode & 0o777 == 0o644


def test_the_configuration_grows_in_a_straight_line(settings, program):
    def lines(workers: int) -> int:
        app = settings.apps["app"].model_copy(update={"workers": WorkerRange(workers, workers)})
        grown = settings.model_copy(update={"apps": {"app": app}})
        return len(configuration.render(grown, program, "for a test").splitlines())

    assert lines(256) - lines(128) == 128 * (lines(2) - lines(1))
