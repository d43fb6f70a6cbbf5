"""Where each session has a process of its own, Shiny's first one is played before these are forked."""

import re
import subprocess
import sys

from support.real_site import APPS, ROOT, Site, until

# What an app may do at its import, then the rehearsal; nothing of the app's runs by it.
REHEARSED = """
import gc, os, sys, threading
import shiny
from shiny import reactive
from shiny.reactive import _core

ran = []
number = reactive.value(1)

@reactive.effect
def of_the_app():
    ran.append(number())

own, open_before = _core._reactive_environment, os.listdir("/proc/self/fd")
from shiny_sticky.worker import rehearsal
played = []
play = rehearsal._play
async def counted(app):
    await play(app)
    played.append(app)
rehearsal._play = counted
rehearsal.rehearse()
assert len(played) == 1, "to its end"
played.clear()
gc.collect()
assert not [each for each in gc.get_objects() if type(each) is shiny.App]
assert _core._reactive_environment is own
assert own._lock is None
assert ran == []
assert threading.active_count() == 1
assert os.listdir("/proc/self/fd") == open_before
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


def test_it_leaves_nothing_behind_and_runs_nothing_of_the_apps():
    run(REHEARSED)


def test_what_records_what_shiny_does_does_not_record_it():
    run("import shiny, opentelemetry.sdk\n" + REHEARSED.replace("len(played) == 1", "len(played) == 0"))


def test_who_does_without_shiny_is_not_brought_it():
    run(
        "import sys\nfrom shiny_sticky.worker import rehearsal\n"
        "rehearsal.rehearse()\nassert 'shiny' not in sys.modules"
    )


def test_a_process_that_has_rendered_no_page_has_the_files_of_those_that_others_have(site_of):
    """If the UI is a function, Shiny knows a page's files in processes only that have rendered it."""
    app = {"target": str(APPS / "function_ui.py"), "isolation": "session", "workers": {"min": 3, "max": 9}}
    site: Site = site_of({"app": app}, cache=False).start()
    until(lambda: len(site.status()["workers"]) == 3, "all are there")
    page = site.ask(cookie="sticky=app1")
    files = re.findall(r'(?:src|href)="(lib/[^"]+)"', page.body.decode())
    assert files
    for file in files:
        assert {site.ask(f"/{file}", cookie=f"sticky={worker}").status for worker in site.workers()} == {200}
