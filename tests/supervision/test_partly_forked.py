"""Import once, fork, where an import does what forks cannot share: what is shared, what is left to the forks."""

import contextlib
import json
import re
import socket
from pathlib import Path

import psutil
import pytest

from support.echo_site import COUNTED, ECHO_CODE, echo_site, imports
from support.real_site import Site, running, until

THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), name='poll'{}).start()\n"


def opens(device: str) -> bool:
    with contextlib.suppress(OSError), Path(device).open("rb", buffering=0):
        return True
    return False


# One that may be opened here and does something; which there are differs from machine to machine.
DEVICES = (
    "/dev/fuse",
    "/dev/net/tun",
    "/dev/loop-control",
    "/dev/kmsg",
    "/dev/rtc0",
    "/dev/hpet",
    "/dev/dri/card0",
)
DEVICE = next(filter(opens, DEVICES), "")

# What an app does at its import, and how the launcher tells it.
UNSHARABLE = {
    "daemon": (THREAD.format(", daemon=True"), r"starts a thread at import \(poll\)"),
    "thread": (THREAD.format(""), r"starts a thread at import \(poll\)"),
    "native": (
        "import _thread, time\n_thread.start_new_thread(time.sleep, (3600,))",
        "starts a thread of a native library",
    ),
    "socket": (
        "import socket\nS = socket.create_connection(os.environ['PEER'].split(':'))",
        r"opens a socket at import \(127",
    ),
    "loop": ("import asyncio\nLOOP = asyncio.new_event_loop()", "makes an event loop at import"),
    "sqlite": (
        "import sqlite3\nDB = sqlite3.connect('my.db')\nDB.execute('create table if not exists t (x)')",
        "opens an SQLite database at import .*my.db",
    ),
    "pipe": ("PIPE = os.pipe()", "opens a pipe at import"),
    "program": (
        "import subprocess\nP = subprocess.Popen(['sleep', '3600'])",
        r"starts a program at import \(sleep\)",
    ),
    "late": (
        "import time\nif not os.fork():\n    time.sleep(0.02)\n    os.execvp('sleep', ['sleep', '3600'])",
        r"starts a program at import \(sleep\)",
    ),
    "file": ("FILE = open(__file__)\nFILE.readline()", r"keeps a file open at import \(.*app.py\)"),
}
if DEVICE:
    UNSHARABLE["device"] = (f"DEVICE = open({DEVICE!r}, 'rb', buffering=0)", "opens a device at import")


def imports_of(site: Site, app: str) -> list[int]:
    return [int(pid) for pid in (site.folder / app / "imports").read_text().split()]


@pytest.fixture(scope="module")
def unsharable():
    """A site with an app for each of these."""
    with socket.create_server(("127.0.0.1", 0)) as peer:
        app = {"workers": 1, "env": {"PEER": f"127.0.0.1:{peer.getsockname()[1]}"}}
        apps = {name: {**app, "target": f"{name}/app.py", "path": f"/{name}/"} for name in UNSHARABLE}
        with Site(apps, deploy={"drain_timeout": 1}) as site:  # a thread may keep a process from its end
            for name, (code, _) in UNSHARABLE.items():
                (site.folder / name).mkdir()
                (site.folder / name / "app.py").write_text(f"{COUNTED}{ECHO_CODE}\n{code}\n")
            yield site.start()


@pytest.mark.parametrize("app", UNSHARABLE)
def test_an_app_that_forks_cannot_share_is_imported_by_each_fork_and_it_is_said_why(unsharable, app):
    (line,) = unsharable.said(rf"App {app}: ")
    assert re.search(rf"App {app}: each worker imports app.py itself, which {UNSHARABLE[app][1]}", line)
    first, worker = imports_of(unsharable, app)
    assert worker == unsharable.pid(f"{app}1")
    assert psutil.Process(worker).ppid() in unsharable.parents(), "it is a fork all the same"
    until(lambda: not running(first), "the process that found it out is gone")
    assert unsharable.ask(f"/{app}/").json["pid"] == worker


def test_what_was_found_is_remembered(unsharable):
    """By the next deploy and by the next start, which import nothing once too often."""
    before = {app: len(imports_of(unsharable, app)) for app in UNSHARABLE}
    parents = unsharable.parents()
    unsharable.reload()
    assert {app: len(imports_of(unsharable, app)) for app in UNSHARABLE} == {
        app: count + 1 for app, count in before.items()
    }
    until(lambda: len(unsharable.parents()) == len(parents), "the old parents have left")
    assert not set(unsharable.parents()) & set(parents)
    assert not unsharable.said("imports it anew")


def test_what_was_found_is_for_the_app_s_user_alone(unsharable):
    for folder in (unsharable.run_dir / "imports").iterdir():
        assert folder.stat().st_mode & 0o777 == 0o700
        assert json.loads((folder / "findings.json").read_text())["left"]


FORKABLE = """
import asyncio, concurrent.futures, logging, mmap, sqlite3, subprocess, threading

logging.basicConfig(filename="my.log")
with open(__file__, "rb") as file:
    MAP = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
DB = sqlite3.connect(":memory:")
with sqlite3.connect("given.db") as given:
    given.execute("create table if not exists t (x)")
given.close()
GIVEN = sqlite3.connect("file:given.db?mode=ro", uri=True)
GIVEN.execute("select count(*) from t").fetchall()
subprocess.run(["true"])
thread = threading.Thread(target=print)
thread.start()
thread.join()
asyncio.run(asyncio.sleep(0))
POOL = concurrent.futures.ThreadPoolExecutor()

import numpy

BIG = numpy.ones((300, 300))
BIG @ BIG
serve = app


async def app(scope, receive, send):
    ME["sum"] = float((BIG @ BIG).sum())
    ME["rows"] = GIVEN.execute("select count(*) from t").fetchall()
    await serve(scope, receive, send)
"""


def test_what_is_no_reason_not_to_fork(site_of):
    """Threads and programs that have ended, files nobody reads bit by bit, and OpenBLAS's threads."""
    site = echo_site(site_of, FORKABLE)
    assert site.said("App app:") == [], "were there a reason, the line would name it"
    assert imports(site) == site.parents()
    reply = site.ask(cookie="sticky=app2").json
    assert reply["pid"] == site.pid("app2")
    assert (reply["sum"], reply["rows"]) == (300.0**3, [[0]]), "both work in a fork"


REOPENED = f"""
import socket
{THREAD.format(", daemon=True")}
OPENED = []


def on_fork():
    OPENED.append(os.getpid())
    threading.Thread(target=time.sleep, args=(3600,), name="anew", daemon=True).start()
    ME["threads"] = [thread.name for thread in threading.enumerate() if not thread.name.startswith("sticky")]


serve = app


async def app(scope, receive, send):
    ME["opened"] = OPENED
    await serve(scope, receive, send)
"""


def test_an_app_may_open_anew_in_each_fork_what_it_opened_at_import(site_of):
    """So it says by having a function on_fork, and is shared as a whole."""
    site = echo_site(site_of, REOPENED)
    assert site.said("each worker imports") == []
    assert imports(site) == site.parents()
    for worker, pid in site.table().items():
        seen = site.ask(cookie=f"sticky={worker}").json
        assert (seen["pid"], seen["opened"], seen["threads"]) == (pid, [pid], ["MainThread", "anew"])
    # A mistake in it is told as one of the import is.
    (site.folder / "app.py").write_text(f"{COUNTED}{ECHO_CODE}\ndef on_fork():\n    raise OSError('no database')\n")
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 1
    assert "OSError: no database" in failed.stderr
    assert site.ask().json["pid"] in site.table().values()


FORKED_WRONGLY = """
IMPORTED_BY = os.getpid()
serve = app


async def app(scope, receive, send):
    if os.getpid() != IMPORTED_BY and scope["type"] == "lifespan":
        {wrong}
    ME["imported_by"] = IMPORTED_BY
    await serve(scope, receive, send)
"""


FAILS = "await receive(); await send({'type': 'lifespan.startup.failed', 'message': 'no'})\n        return"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param("os.abort()", id="crashes"),
        pytest.param(FAILS, id="fails", marks=pytest.mark.slow),
        pytest.param("time.sleep(3600)", id="hangs", marks=pytest.mark.slow),
    ],
)
def test_what_does_not_work_when_forked_is_found_by_the_first_fork_and_not_shared(site_of, wrong):
    """Nothing in the process that it would be forked off shows it."""
    site = echo_site(site_of, FORKED_WRONGLY.format(wrong=wrong), app={"start_timeout": 20})
    (line,) = site.said("Perhaps because it was forked")
    assert "app1" in line, "the second was not made before"
    assert site.said("each worker imports app.py itself, which did not work in a process forked off its import")
    for worker, pid in site.table().items():
        assert site.ask(cookie=f"sticky={worker}").json["imported_by"] == pid
    (old,) = site.parents()
    count = len(imports(site))
    site.reload()
    assert set(site.parents()) != {old}
    assert len(imports(site)) == count + 2, "it is remembered"
    assert len(site.said("Perhaps because it was forked")) == 1


# --- packages

PACKAGE = "import os\nwith open(os.environ['SEEN'], 'a') as file: file.write(f'{__name__} {os.getpid()}\\n')\n"

IMPORTING = f"""\"\"\"An app as people write them.\"\"\"

import before
import outer
import after
from helpers import late
import os

ME = {{}}
late.VALUE += 1
{COUNTED}
"""


def importing_site(site_of, workers: int = 2) -> Site:
    """A site whose app imports packages, one of which starts a thread; each notes who imports it."""
    site = site_of({"app": {"target": "app.py", "workers": workers}})
    installed = site.folder / "lib" / "site-packages"
    (installed / "poller").mkdir(parents=True)
    (installed / "poller-1.0.dist-info").mkdir()
    for name in ("before", "after", "late"):
        (installed / f"{name}.py").write_text(f"{PACKAGE}VALUE = 1\n")
    (installed / "outer.py").write_text(f"import before, poller.core\n{PACKAGE}")
    (installed / "poller" / "__init__.py").write_text(PACKAGE)
    (installed / "poller" / "core.py").write_text(f"{PACKAGE}{THREAD.format(', daemon=True')}")
    (site.folder / "helpers.py").write_text("import late\n")
    (site.folder / "app.py").write_text(f"{IMPORTING}{ECHO_CODE}")
    site.settings["apps"]["app"]["env"] = {"PYTHONPATH": str(installed), "SEEN": str(site.folder / "seen")}
    site.write()
    return site.start()


def importers(site: Site) -> dict[str, set[int]]:
    """Who of those that run has imported each package, by name."""
    found: dict[str, set[int]] = {}
    for line in (site.folder / "seen").read_text().splitlines():
        name, pid = line.split()
        if running(int(pid)):
            found.setdefault(name, set()).add(int(pid))
    return found


def test_packages_are_shared_but_for_the_one_that_starts_a_thread(site_of):
    site = importing_site(site_of)
    (line,) = site.said("each worker imports")
    assert line.endswith("App app: each worker imports poller itself, which starts a thread at import (poll)")
    parents, workers = set(site.parents()), set(site.table().values())
    until(lambda: importers(site)["before"] == parents, "the process that found it out is gone")
    assert importers(site) == {
        "before": parents,
        "after": parents,
        "late": parents,
        "poller": parents,
        "poller.core": workers,
        "outer": workers,
    }
    assert set(imports(site)[1:]) == workers
    # The app's own file changes, and what is known of the package still holds.
    (site.folder / "app.py").write_text(f"{IMPORTING}{ECHO_CODE}\nME['version'] = 2")
    count = len(imports(site))
    site.reload()
    assert site.ask().json["version"] == 2
    assert len(imports(site)) == count + 2
    assert site.ask(cookie="sticky=app1").json["pid"] == site.pid("app1")
    until(lambda: len(site.parents()) == 1, "the old parent has left")
    parents = set(site.parents())
    # Another version of the package starts none.
    installed = site.folder / "lib" / "site-packages"
    (installed / "poller-1.0.dist-info").rename(installed / "poller-1.1.dist-info")
    (installed / "poller" / "core.py").write_text(PACKAGE)
    site.reload()
    (parent,) = set(site.parents()) - parents
    assert importers(site)["outer"] >= {parent}
    assert len(imports(site)) == count + 3


def test_code_that_only_forks_import_is_told_of_with_its_traceback(site_of):
    site = importing_site(site_of, workers=1)
    before = site.pid("app1")
    (site.folder / "app.py").write_text(f"{IMPORTING}{ECHO_CODE}\nimport numpie")
    failed = site.command("reload", str(site.config))
    assert failed.returncode == 1
    assert "No module named 'numpie'" in failed.stderr
    assert "import_watch" not in failed.stderr
    assert site.pid("app1") == before
    assert site.ask().json["pid"] == before


def test_real_packages_that_start_harmless_threads_are_shared(site_of):
    """Arrow's pool, which pandas reads files with, and jemalloc's thread."""
    site = echo_site(
        site_of,
        "import pandas\npandas.DataFrame({'a': range(1000)}).to_parquet('a.parquet')\n"
        "pandas.read_parquet('a.parquet')\nserve = app\nasync def app(scope, receive, send):\n"
        "    ME['sum'] = int(pandas.read_parquet('a.parquet').a.sum())\n    await serve(scope, receive, send)\n",
    )
    assert site.said("each worker imports") == []
    assert imports(site) == site.parents()
    assert site.ask(cookie="sticky=app2").json["sum"] == 499500


def test_polars_is_left_to_the_forks(site_of):
    site = echo_site(
        site_of,
        "import polars\nserve = app\nasync def app(scope, receive, send):\n"
        "    ME['sum'] = polars.DataFrame({'a': range(1000)}).lazy().sum().collect().item()\n"
        "    await serve(scope, receive, send)\n",
    )
    assert site.said("each worker imports polars itself, which starts a thread of a native library")
    assert site.ask(cookie="sticky=app2").json["sum"] == 499500
