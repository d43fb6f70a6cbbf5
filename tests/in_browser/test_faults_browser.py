"""A visitor in Chromium with the demo open when something goes wrong: the page goes on, or comes back by itself."""

import os
import re
import shutil
import signal

import pytest
from playwright.sync_api import expect

from support.browser import Demo, Visitor
from support.real_site import ROOT, Site, running, until


@pytest.fixture
def site(request):
    """The demo from a folder of its own, whose code can be broken."""
    with Site({"app": {"target": "app/app.py", "workers": 3, **getattr(request, "param", {})}}) as site:
        shutil.copytree(ROOT / "app", site.folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
        yield site.start()


@pytest.fixture
def demo(browser, site):
    """The open page, with three clicks on its counter and the sticky test passed."""
    visitor = Visitor(browser)
    demo = Demo(visitor, site)
    demo.stays()
    for _ in range(3):
        demo.page.locator("#clicks").click()
    expect(demo.page.locator("#click_count")).to_have_text("3")
    yield demo
    visitor.leave()


def goes_on(demo: Demo, pid: int) -> None:
    """The same process serves the same session, with all its requests."""
    demo.page.locator("#clicks").click()
    expect(demo.page.locator("#click_count")).to_have_text("4")
    assert demo.pid == pid
    demo.run_again()
    demo.stays()
    assert demo.upload(b"x" * 1000, "small.bin")["Received by"].endswith(f"(pid {pid})")
    assert demo.download()[1]["pid"] == pid
    assert demo.visitor.complaints == []


def deploy(site: Site) -> None:
    site.reload()


def deploy_twice(site: Site) -> None:
    site.reload()
    site.reload()


def deploy_broken_code(site: Site) -> None:
    (site.folder / "app" / "app.py").write_text("import numpie")
    assert site.command("reload", str(site.config)).returncode == 1


def remove_workers(site: Site) -> None:
    site.settings["apps"]["app"]["workers"] = 1
    site.write()
    site.reload()


def reload_nginx(site: Site) -> None:
    os.kill(site.nginx_pid(), signal.SIGHUP)


def kill_nginx(site: Site) -> None:
    pid = site.nginx_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: site.nginx_pid() not in (0, pid), "nginx is back")


def kill_launcher(site: Site) -> None:
    site.kill_launcher()
    site.start()


FAULTS = [deploy]
SLOW = [kill_nginx, deploy_twice, deploy_broken_code, remove_workers, reload_nginx, kill_launcher]


@pytest.mark.parametrize(
    "fault",
    [*FAULTS, *(pytest.param(fault, marks=pytest.mark.slow) for fault in SLOW)],
    ids=lambda fault: fault.__name__,
)
def test_an_open_page_goes_on_through(fault, site, demo):
    pid = demo.pid
    fault(site)
    goes_on(demo, pid)
    replaced = pid not in (site.pid(worker) for worker in ("app1", "app2", "app3") if exists(site, worker))
    demo.page.close()
    if replaced:
        until(lambda: not running(pid), "its process leaves with it")


def exists(site: Site, worker: str) -> bool:
    return (site.run_dir / f"{worker}.sock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("site", [{"hang_timeout": 8}], indirect=True)
def test_a_page_whose_process_hangs_comes_back_on_another(site, demo):
    pid = demo.pid
    os.kill(pid, signal.SIGSTOP)
    expect(demo.page.locator("#pid")).not_to_have_text(str(pid))
    expect(demo.page.locator("#click_count")).to_have_text("3")
    assert demo.pid != pid
    expect(demo.result).to_have_text(re.compile(r"^100 of 100 requests reached"))


@pytest.mark.slow
def test_a_page_that_outlasts_its_drain_comes_back_on_new_code(browser):
    with Site({"app": {"target": str(ROOT / "app" / "app.py"), "workers": 1}}, deploy={"drain_timeout": 1}) as site:
        site.start()
        visitor = Visitor(browser)
        demo = Demo(visitor, site)
        demo.stays()
        pid = demo.pid
        site.reload()
        expect(demo.page.locator("#pid")).to_have_text(str(site.pid("app1")))
        until(lambda: not running(pid), "the old process is gone")
        visitor.leave()
