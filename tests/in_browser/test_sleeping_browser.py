"""A visitor in Chromium who comes to an app that sleeps, and takes long to wake."""

import shutil

import pytest
from playwright.sync_api import expect

from support.browser import Demo, Visitor, chromium
from support.real_site import ROOT, Site, until

# The import takes until a test allows its end.
SLOW = "import time\nfrom pathlib import Path\nwhile not Path('go').exists(): time.sleep(0.05)\n"


@pytest.fixture
def site():
    """The demo, asleep, in a folder of its own."""
    with Site({"app": {"target": "app/app.py", "workers": 2, "idle_timeout": 5}}) as site:
        shutil.copytree(ROOT / "app", site.folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
        yield site.start()


@pytest.mark.slow
def test_who_wakes_an_app_that_takes_long_is_told_so_and_then_sees_it_by_itself(site):
    with (site.folder / "app" / "app.py").open("a") as code:
        code.write(SLOW)
    with chromium() as browser:
        visitor = Visitor(browser)
        page = visitor.context.new_page()
        assert page.goto(f"http://127.0.0.1:{site.port}/", wait_until="commit").status == 503
        expect(page.get_by_role("heading")).to_have_text("The app is starting")
        (site.folder / "app" / "go").touch()
        demo = Demo(visitor, site, frame=page.main_frame)
        demo.stays()
        visitor.leave()
        assert [complaint for complaint in visitor.complaints if "503" not in complaint] == []
        until(lambda: not site.incarnations(), "nobody is there, so it sleeps")
