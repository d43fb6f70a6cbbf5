"""Processes that have different files under one name: each means its own, and new pages never get old files."""

import signal

import pytest

from support.dynamic_ui import WORKERS, draw, fetch, session_at, site_with, text
from support.real_site import until


def test_two_processes_that_mean_different_files_by_one_name_each_serve_their_own(site_of):
    """Also if nginx had kept the one before there was the other."""
    site = site_with(site_of).start()
    first = session_at(site, "app1")
    (url,) = draw(first, "2.0")
    ours = text(fetch(site, url, "app1"))
    until(lambda: "-q" not in fetch(site, url).headers["ETag"], "nginx keeps it")
    second = session_at(site, "app2")
    assert draw(second, "2.0") == [url]
    theirs = fetch(site, url, "app2")
    assert text(theirs) == f"window.own = 'old {site.pid('app2')}';" != ours
    assert theirs.headers["Cache-Control"] == "private, no-cache", "neither nginx nor a browser keeps it"
    for _ in range(3):
        assert text(fetch(site, url, "app1")) == ours
        assert text(fetch(site, url, "app2")) == text(theirs)
    first.close()
    second.close()


def test_the_same_files_from_two_folders_are_kept(site_of):
    site = site_with(site_of).start()
    sessions = [session_at(site, worker) for worker in ("app1", "app2")]
    (url,) = {draw(session, "1.5")[0] for session in sessions}
    for worker in WORKERS:
        assert "immutable" in fetch(site, url, worker).headers["Cache-Control"]
    for session in sessions:
        session.close()


@pytest.mark.parametrize("cookie", ["app1", None])
def test_pages_of_the_new_code_get_the_new_files_while_the_old_drain(site_of, cookie):
    site = site_with(site_of, app={"workers": 2}).start()
    old = session_at(site, "app1")
    (url,) = draw(old, "1.5")
    until(lambda: "-q" not in fetch(site, url).headers["ETag"], "nginx keeps it")
    site.settings["apps"]["app"]["env"] = {"OWN_TEXT": "new"}
    site.write()
    site.reload()
    assert "old" in text(fetch(site, url)), "as long as nobody means anything else"
    new = session_at(site, "app1")
    assert draw(new, "1.5") == [url]
    for _ in range(4):
        assert "new" in text(fetch(site, url, cookie))
    old.close()
    new.close()


def test_in_the_middle_of_a_deploy_new_pages_get_new_files(site_of):
    """One worker is new and the other not yet: files that were changed in place, and files in another folder."""
    site = site_of({"app": {"target": "app.py", "workers": 2, "preload": False, "start_timeout": 100}})
    code = (
        "import os, pathlib, time\nfrom htmltools import HTMLDependency\nfrom shiny import App, ui\n"
        "while os.environ['STICKY_WORKER'] == 'app2' and os.path.exists('wait'):\n    time.sleep(0.05)\n"
        "def own(name, folder):\n"
        "    return HTMLDependency(name, '1.0', source={'subdir': folder}, script={'src': 'own.js'})\n"
        "app = App(ui.page_fluid(own('same', 'same'), own('moved', 'FOLDER')), None)\n"
    )

    def write(folder: str, content: str) -> None:
        (site.folder / folder).mkdir(exist_ok=True)
        (site.folder / folder / "own.js").write_text(f"// {content}\n" * 200)

    write("same", "old")
    write("first", "old")
    (site.folder / "app.py").write_text(code.replace("FOLDER", "first"))
    site.start()
    urls = ["/lib/same-1.0/own.js", "/lib/moved-1.0/own.js"]
    for url in urls:
        until(lambda url=url: "-q" not in fetch(site, url).headers["ETag"], "nginx keeps it")
    write("same", "new")
    write("second", "new")
    (site.folder / "app.py").write_text(code.replace("FOLDER", "second"))
    (site.folder / "wait").touch()
    old = site.pid("app1")
    site.launcher.send_signal(signal.SIGHUP)
    site.back("app1", old)
    for url in urls:
        for cookie in ("app1", None, None, "app1"):
            assert text(fetch(site, url, cookie)) == "// new", (url, cookie)
    (site.folder / "wait").unlink()
    until(lambda: site.said("Deployed"), "the deploy is done", 60)
    for url in urls:
        assert text(fetch(site, url)) == "// new"
