"""Programs that an app starts end with the process that started them, but for those that it has detached."""

import contextlib

import psutil
import pytest

from support.echo_site import echo_site
from support.real_site import running, until


def programs(site) -> list[psutil.Process]:
    """The programs of a site's app."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline() == ["sleep", "1234"] and process.environ().get("SITE") == str(site.folder):
                found.append(process)
    return [process for process in found if running(process.pid)]


def test_programs_of_the_import_end_with_their_worker(site_of):
    """Such an app is not forked: the process that has found that out leaves nothing either."""
    site = echo_site(site_of, "import subprocess\nsubprocess.Popen(['sleep', '1234'])")
    assert {program.ppid() for program in programs(site)} == set(site.table().values())
    site.reload()
    until(lambda: {each.ppid() for each in programs(site)} == {site.pid("app1"), site.pid("app2")}, "one a worker")
    old = site.kill("app1")
    site.back("app1", old)
    until(lambda: {each.ppid() for each in programs(site)} == {site.pid("app1"), site.pid("app2")}, "one a worker")
    assert site.stop() == 0
    assert programs(site) == []


@pytest.mark.parametrize("preload", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_program_that_ignores_sigterm_is_killed(site_of, preload):
    code = """
import subprocess
def start():
    program = ["sh", "-c", "trap '' TERM; exec sleep 1234"]
    ME["program"] = subprocess.Popen(program).pid
me_before = me
def me():
    "program" in ME or start()
    return me_before()
"""
    site = echo_site(site_of, code, app={"preload": preload})
    program = site.ask(cookie="sticky=app1").json["program"]
    assert psutil.Process(program).ppid() == site.pid("app1")
    site.kill("app1")
    until(lambda: not running(program), "the program has ended")


def test_a_program_that_was_detached_on_purpose_goes_on(site_of):
    code = "import subprocess\nsubprocess.Popen(['sleep', '1234'], start_new_session=True)"
    site = echo_site(site_of, code, workers=1, app={"preload": False})
    (program,) = programs(site)
    assert site.stop() == 0
    assert running(program.pid)
    program.kill()
