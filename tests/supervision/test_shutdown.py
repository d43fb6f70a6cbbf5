"""What an app asks to be done at its shutdown is done once for each import, and once for each worker that asked."""

import re
from pathlib import Path

import pytest

from support.real_site import Site, running, until
from support.shiny_session import ShinySession

# The page tells the process that made it, and whether the folder that the import made is there. What is done at a
# shutdown is a line in the file `done`: what, and in which process.
CORE = """
import os, tempfile
from pathlib import Path
from shiny import App, ui

HERE = Path(tempfile.mkdtemp(prefix="st-shut-"))

def note(what):
    with open("done", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

def page(request):
    return ui.page_fluid(f"pid={os.getpid()} folder={HERE} there={HERE.is_dir()};")

def server(input, output, session):
    session.app.on_shutdown(lambda: note("session"))

app = App(page, server)

@app.on_shutdown
def clean():
    note("import")
    HERE.rmdir()

async def clean_slowly():
    import asyncio
    await asyncio.sleep(0.01)
    note("async")

app._exit_stack.push_async_callback(clean_slowly)
"""

EXPRESS = """
import os
from shiny.express import session, ui

def note(what):
    with open("done", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

ui.p("Express")
if session.app:  # there is none at the import
    _ = session.app.on_shutdown(lambda: note("session"))
"""

# All that a Shiny app may be wrapped in gets its lifespan, or passes it on.
WRAPPED = {
    "middleware": "from starlette.middleware.gzip import GZipMiddleware\nserved = GZipMiddleware(app)\n",
    "mounted": (
        "from contextlib import asynccontextmanager\n"
        "from starlette.applications import Starlette\nfrom starlette.routing import Mount\n"
        "@asynccontextmanager\nasync def lifespan(outer):\n"
        "    note('begun')\n"
        "    async with app.starlette_app.router.lifespan_context(app.starlette_app):\n"
        "        yield\n"
        "    note('ended')\n"
        "served = Starlette(routes=[Mount('/', app=app)], lifespan=lifespan)\n"
    ),
}


def site_with(site_of, code: str = CORE, target: str = "app.py", **app) -> Site:
    """A started site of two workers."""
    site = site_of({"app": {"target": target, "workers": 2, **app}})
    (site.folder / "app.py").write_text(code)
    return site.start()


def seen(site: Site, worker: str) -> dict[str, str]:
    """What a worker's page tells."""
    text = site.ask(cookie=f"sticky={worker}").body.decode()
    return dict(re.findall(r"(pid|folder|there)=([^ ;]+)", text))


def done(site: Site, what: str) -> list[int]:
    """The processes that have done something."""
    file = site.folder / "done"
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(line.split()[1]) for line in lines if line.split()[0] == what]


def restart(site: Site, worker: str) -> None:
    old = site.pid(worker)
    assert site.command("restart", worker, str(site.config)).returncode == 0
    until(lambda: not running(old), "the old process has left")


def nobody_complains(site: Site) -> None:
    assert site.said("Traceback|[Ss]hutdown failed|Error") == []


@pytest.mark.parametrize("wrapped", ["", *(pytest.param(each, marks=pytest.mark.slow) for each in WRAPPED)])
def test_shutdown_callbacks_of_the_import_run_once_when_its_last_worker_has_ended(site_of, wrapped):
    target = "app.py:served" if wrapped else "app.py"
    site = site_with(site_of, CORE + WRAPPED.get(wrapped, ""), target)
    workers = {site.pid("app1"), site.pid("app2")}
    restart(site, "app1")
    assert done(site, "import") == []
    for worker in ("app1", "app2"):
        assert seen(site, worker)["there"] == "True", "the folder is all workers', and still there"
    workers.add(site.pid("app1"))
    folder = Path(seen(site, "app2")["folder"])
    assert site.stop() == 0
    assert not folder.exists()
    for what in ("import", "async"):
        (process,) = done(site, what)
        assert process not in workers, f"{what}: done by the process that did the import"
    nobody_complains(site)


def test_a_deploy_runs_those_of_the_old_import_and_leaves_the_new_ones(site_of):
    site = site_with(site_of)
    old = Path(seen(site, "app1")["folder"])
    assert site.command("reload", str(site.config)).returncode == 0
    until(lambda: not old.exists(), "the old import's folder is removed")
    assert len(done(site, "import")) == 1
    assert seen(site, "app1")["folder"] != str(old)
    assert seen(site, "app1")["there"] == seen(site, "app2")["there"] == "True"


def test_what_a_shutdown_callback_keeps_alive_stays_until_then(site_of):
    """Nothing but the callback refers to the folder here, and it is gone with the last that refers to it."""
    site = site_with(
        site_of,
        CORE.replace("HERE = Path(tempfile.mkdtemp", "made = (tempfile.TemporaryDirectory")
        .replace('"st-shut-"))', '"st-shut-"))\nHERE = Path(made.name)')
        .replace("    HERE.rmdir()\n", "")
        .replace("app = App(page, server)\n", "app = App(page, server)\napp.on_shutdown(made.cleanup)\ndel made\n"),
    )
    restart(site, "app1")
    restart(site, "app2")
    assert seen(site, "app1")["there"] == seen(site, "app2")["there"] == "True"
    folder = Path(seen(site, "app1")["folder"])
    assert site.stop() == 0
    assert not folder.exists()
    nobody_complains(site)


@pytest.mark.parametrize(
    "code", [pytest.param(CORE, id="core"), pytest.param(EXPRESS, id="express", marks=pytest.mark.slow)]
)
def test_what_a_session_asks_for_is_done_by_its_own_worker_at_its_end(site_of, code):
    site = site_with(site_of, code)
    pids = {}
    for worker in ("app1", "app2"):
        with ShinySession(site.port, cookies={"sticky": worker}):
            pids[worker] = site.pid(worker)
    restart(site, "app1")
    assert done(site, "session") == [pids["app1"]]
    assert site.stop() == 0
    assert done(site, "session") == [pids["app1"], pids["app2"]]
    nobody_complains(site)


@pytest.mark.parametrize(
    ("app", "code"), [({"preload": False}, ""), pytest.param({}, "import threading, time", marks=pytest.mark.slow)]
)
def test_workers_that_import_the_app_themselves_each_run_their_own(site_of, app, code):
    """And so does the parent that turns out not to be one."""
    if code:
        code += "\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    site = site_with(site_of, CORE + code, **app)
    folders = {seen(site, worker)["folder"] for worker in ("app1", "app2")}
    assert len(folders) == 2
    others = len(done(site, "import"))
    assert others == (1 if code else 0)
    pids = [site.pid("app1"), site.pid("app2")]
    restart(site, "app1")
    assert seen(site, "app2")["there"] == "True"
    assert done(site, "import")[others:] == pids[:1]
    assert site.stop() == 0
    assert set(pids) < set(done(site, "import"))
    assert not any(Path(folder).exists() for folder in folders)
    nobody_complains(site)


def test_a_shutdown_callback_that_fails_is_told_once_and_the_others_run(site_of):
    site = site_with(site_of, CORE + "app.on_shutdown(lambda: 1 / 0)\n")
    assert site.stop() == 0
    assert len(done(site, "import")) == 1
    assert len(site.says("ZeroDivisionError")) == 1
    assert len(site.says("shutdown failed")) == 1


def test_the_lifespan_of_other_apps_begins_and_ends_in_each_worker(site_of):
    site = site_with(site_of, CORE + WRAPPED["mounted"], "app.py:served")
    pids = {site.pid("app1"), site.pid("app2")}
    assert set(done(site, "begun")) == pids
    assert site.stop() == 0
    assert set(done(site, "ended")) == pids
