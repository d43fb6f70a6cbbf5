"""The demo in a browser: a page, and every request it makes, stays with one process, until that process dies."""

import collections
import contextlib
import hashlib
import itertools
import re
import shlex
import subprocess

import pytest
from playwright.sync_api import Page, expect

from support.browser import Demo, Visitor
from support.real_site import ROOT, Site, until

DEMO = {"target": str(ROOT / "app" / "app.py")}
WORKERS = ["app1", "app2", "app3", "app4"]
SCREENSHOT = ROOT / "artifacts" / "demo.png"


@pytest.fixture(scope="module")
def site(browser):
    """The demo on four workers. It comes after the browser: without one, nothing need be started."""
    # A browser that is closed in haste may not say that its page has gone: then the session ends after this.
    with Site({"app": {**DEMO, "workers": 4}}, resume={"timeout": 45}) as shared:
        yield shared.start()


@pytest.fixture(scope="module")
def mounted(browser):
    """The demo under a path, and nothing beside it: what a page asks for elsewhere is not found."""
    with Site({"app": {**DEMO, "workers": 3, "path": "/foo/"}}) as shared:
        yield shared.start()


@pytest.fixture(params=["site", pytest.param("mounted", marks=pytest.mark.slow)])
def either(request):
    """The demo at / and under a path."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def visitor_of(browser):
    """A factory of visitors; they leave with the test, and their pages must have logged no error."""
    visitors = []

    def make() -> Visitor:
        visitors.append(Visitor(browser))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.leave()
    assert [visitor.complaints for visitor in visitors] == [[] for _ in visitors]


@contextlib.contextmanager
def plain_requests_held(page: Page):
    """What a page asks for, other than websockets, does not leave the browser until the block ends."""
    held = []
    page.route("**/*", lambda route: held.append(route))
    yield
    page.route("**/*", lambda route: route.continue_())  # the later one counts
    for route in held:
        route.continue_()


def test_every_request_of_a_page_reaches_the_worker_that_its_cookie_names(either, visitor_of):
    demo = Demo(visitor_of(), either)
    demo.stays()
    assert demo.pid == either.pid(demo.worker)
    (cookie,) = demo.visitor.cookies().values()
    assert (cookie["name"], cookie["value"], cookie["path"]) == ("sticky", demo.worker, demo.path)
    assert cookie["httpOnly"]

    with demo.page.expect_response(re.compile(r"[?&]n=100$")):
        demo.page.locator("#sticky-run").click()
    demo.stays()

    with demo.page.expect_request(re.compile(r"[?&]n=100$")) as asked:
        demo.page.locator("#sticky-bare").click()
    expect(demo.result).to_have_text(re.compile("^100 of 100 requests reached .*, without a cookie[.]$"))
    assert "cookie" not in asked.value.all_headers()


@pytest.mark.slow
def test_visitors_at_once_share_all_workers_and_each_stays_with_one(site, visitor_of):
    site.emptied()
    with site.launcher_stopped():  # on a busy machine it may lead visitors past a worker that it has not heard
        demos = [Demo(visitor_of(), site) for _ in range(5)]
    for demo in demos:
        demo.stays()
        assert demo.cookie == demo.worker
    counts = collections.Counter(demo.worker for demo in demos)
    assert sorted(counts) == WORKERS
    assert max(counts.values()) == 2


@pytest.mark.slow
def test_an_upload_reaches_the_process_of_its_page_whole(either, visitor_of):
    file = bytes(range(251)) * 20_000  # 5 MB
    demo = Demo(visitor_of(), either)
    assert demo.upload(file, "numbers.bin") == {
        "Name": "numbers.bin",
        "Size": "5.02 MB",
        "SHA-256": hashlib.sha256(file).hexdigest(),
        "Received by": f"{demo.worker} (pid {demo.pid})",
    }


@pytest.mark.slow
def test_a_download_is_made_by_the_process_of_its_page(either, visitor_of):
    demo = Demo(visitor_of(), either)
    worker, pid = demo.worker, demo.pid
    for _ in range(3):
        name, made_by = demo.download()
        assert name == f"{worker}-{pid}.txt"
        assert (made_by["worker"], made_by["pid"]) == (worker, pid)
        assert demo.text("session").endswith(made_by["session"])
    expect(demo.page.locator("#seen-download")).to_have_text(f"Made by {worker} (pid {pid}).")


@pytest.mark.slow
def test_a_cut_of_the_network_is_a_line_that_comes_and_goes(site, visitor_of):
    demo = Demo(visitor_of(), site)
    demo.stays()
    session, line = demo.text("session"), demo.page.locator("shiny-sticky-notices .lost")
    demo.page.locator("#network-cut").click()
    expect(line).to_contain_text("Reconnecting")
    expect(demo.page.locator("#seen-network")).to_have_text(
        re.compile("^.* after the cut .*, in the same session: of 10 messages .* 10 have arrived, in order[.]$")
    )
    expect(line).to_have_count(0)
    demo.stays()
    assert demo.text("session") == session


@pytest.mark.slow
def test_the_page_says_how_long_it_had_no_network(site, network, visitor_of):
    demo = Demo(visitor_of(), site, port=network.port)
    demo.stays()
    session = demo.text("session")
    assert network.cut("rst")
    expect(demo.page.locator("#seen-network")).to_have_text(
        re.compile("^The connection was lost for .*[.] The session is the same[.]$")
    )
    assert demo.text("session") == session


def test_a_page_whose_process_is_killed_moves_to_another_worker_and_keeps_its_inputs(site, visitor_of):
    demo = Demo(visitor_of(), site)
    demo.stays()
    count = demo.page.locator("#click_count")
    for clicks in range(1, 4):
        demo.page.locator("#clicks").click()
        expect(count).to_have_text(str(clicks))
    demo.page.evaluate("window.loaded = 'once'")
    old = demo.worker

    with site.launcher_stopped():
        with plain_requests_held(demo.page):
            old_pid = site.kill(old)
            others = "|".join(name for name in WORKERS if name != old)
            expect(demo.page.locator("#worker")).to_have_text(re.compile(f"^({others})$"))
            new = demo.worker
            assert demo.cookie == new  # the websocket's 101 has brought it: nothing else was answered
        demo.stays()
        assert demo.worker == demo.cookie == new
        expect(count).to_have_text("3")
        told = rf"^{old} \(pid {old_pid}\) is gone[.] .* was back, in {new} \(pid {demo.pid}\), with 3 clicks[.]$"
        expect(demo.page.locator("#seen-kill")).to_have_text(re.compile(told))
        demo.page.locator("#clicks").click()
        expect(count).to_have_text("4")
        assert demo.page.evaluate("window.loaded") == "once"

    # It lives there now: the old worker's return takes nobody back.
    site.back(old, old_pid)
    demo.page.reload()
    demo.stays()
    assert demo.worker == demo.cookie == new


def picture(demo: Demo) -> dict[str, tuple[list[str], str]]:
    """The picture of all workers: each incarnation with its badges and sessions."""
    tiles = demo.page.locator("#workers [data-incarnation]").evaluate_all(
        """tiles => tiles.map(tile => [tile.dataset.incarnation,
            [...tile.querySelectorAll(".badge")].map(badge => badge.innerText),
            tile.querySelector(".sessions").innerText])"""
    )
    return {name: (badges, sessions) for name, badges, sessions in tiles}


@pytest.mark.slow
def test_the_picture_has_every_process_with_its_sessions(site, visitor_of):
    demo = Demo(visitor_of(), site)
    demo.stays()
    home = demo.text("incarnation")
    others = {site.incarnation(worker) for worker in WORKERS} - {home}
    idle = {name: ([], "0 sessions") for name in others}
    until(lambda: picture(demo) == {home: (["this page"], "1 session"), **idle}, "the picture is there")

    with demo.page.expect_popup() as second:
        demo.page.get_by_role("link", name="Open this page once more").click()
    expect(demo.page.locator("#seen-tab")).to_have_text(
        f"{demo.worker} (pid {demo.pid}) has 2 sessions, this page's among them."
    )
    second.value.close()
    until(lambda: picture(demo)[home] == (["this page"], "1 session"), "the second tab's session has ended")

    run(command(demo, "deploy"), site)
    told = re.compile(rf"^4 new processes so far; this page lives on in {home} ")
    expect(demo.page.locator("#seen-deploy")).to_have_text(told)
    fresh = {site.incarnation(worker): ([], "0 sessions") for worker in WORKERS}
    until(lambda: picture(demo) == {home: (["this page", "leaves"], "1 session"), **fresh}, "the picture is new")
    assert demo.text("incarnation") == home


def command(demo: Demo, step: str, number: int = 0) -> str:
    """A step's command, as the page shows it and its button copies it."""
    shown = demo.page.locator("article", has=demo.page.locator(f"#seen-{step}")).locator(".command").nth(number)
    shown.evaluate(
        """shown => {
            const button = shown.querySelector("button");
            const note = () => { shown.dataset.said ??= button.textContent; };
            new MutationObserver(note).observe(button, { childList: true });
        }"""
    )
    shown.locator("button").click()
    expect(shown).to_have_attribute("data-said", "Copied")
    return shown.locator("code").inner_text()


def run(line: str, site: Site) -> None:
    """Type a command in the folder of the settings file; the launcher's own is the one under test."""
    match shlex.split(line):
        case ["python3", "launcher.py", "config.yaml"]:
            site.start()
        case ["python3", "launcher.py", *arguments]:
            assert site.command(*arguments).returncode == 0
        case _:
            subprocess.run(["bash", "-c", line], cwd=site.folder, check=True)


@pytest.mark.slow
def test_each_command_of_the_page_does_what_the_page_says(browser):
    visitor = Visitor(browser)
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with Site({"app": {**DEMO, "workers": 3}}, run_dir="run") as site:
        site.start()
        demo = Demo(visitor, site)
        demo.stays()
        home = demo.text("session")
        goes_on = re.compile(r"^Since you copied it: [1-9].* none lost; .* The session is the same[.]$")

        run(command(demo, "freeze"), site)
        until(lambda: demo.worker not in pool(site), "new visitors come to other workers")
        assert Demo(Visitor(browser), site).worker != demo.worker
        expect(demo.page.locator("#beats [data-state=slow]")).to_have_count(1)  # the page's own waits on
        run(command(demo, "freeze", 1), site)
        expect(demo.page.locator("#seen-freeze")).to_have_text(goes_on)

        nginx = site.nginx_pid()
        run(command(demo, "nginx"), site)
        until(lambda: site.nginx_pid() not in (0, nginx), "nginx is back")
        expect(demo.page.locator("#seen-nginx")).to_have_text(re.compile("^Since .* The session is the same[.]$"))

        for step in ("parent", "pause", "launcher"):
            run(command(demo, step), site)
            expect(demo.page.locator(f"#seen-{step}")).to_have_text(goes_on)
            if step == "pause":
                run(command(demo, step, 1), site)
        run(command(demo, "launcher", 1), site)
        expect(demo.page.locator("#seen-deploy")).to_have_attribute("data-state", "passed")
        assert demo.text("session") == home
    visitor.leave()


def pool(site: Site) -> set[str]:
    """The workers that new visitors come to: those that a seat leads to."""
    found = set()
    for link in (site.run_dir / "pages").glob("*.sock"):
        with contextlib.suppress(FileNotFoundError):  # it has just been taken away
            found.add(link.readlink().stem)
    return found


@pytest.mark.slow
def test_a_path_without_its_slash_leads_to_the_app(mounted, visitor_of):
    page = visitor_of().open(f"http://127.0.0.1:{mounted.port}/foo?from=bookmark")
    assert page.url == f"http://127.0.0.1:{mounted.port}/foo/?from=bookmark"
    expect(page.locator("#sticky-result")).to_have_attribute("data-state", "passed")


@pytest.mark.slow
def test_two_apps_keep_the_same_visitor_with_a_worker_each(site_of, visitor_of):
    site = site_of({"app": {**DEMO, "workers": 2}, "other": {**DEMO, "workers": 2, "path": "/foo/"}}).start()
    visitor = visitor_of()
    first, other = Demo(visitor, site, "app"), Demo(visitor, site, "other")
    first.stays()
    other.stays()
    assert first.worker in ("app1", "app2")
    assert other.worker in ("other1", "other2")
    assert {(cookie["name"], cookie["value"], cookie["path"]) for cookie in visitor.context.cookies()} == {
        ("sticky", first.worker, "/"),
        ("sticky_other", other.worker, "/foo/"),
    }


@pytest.mark.slow
def test_the_finished_page_fits_a_desk_and_a_phone(site, visitor_of):
    demo = Demo(visitor_of(), site)
    demo.upload(b"x" * 1_000_000, "measurements.csv")
    demo.page.locator("#clicks").click()
    expect(demo.page.locator("#click_count")).to_have_text("1")
    demo.stays()
    SCREENSHOT.parent.mkdir(exist_ok=True)
    for width, scheme in itertools.product((390, 1280), ("dark", "light")):
        demo.page.emulate_media(color_scheme=scheme)
        demo.page.set_viewport_size({"width": width, "height": 900})
        expect(demo.page.locator("html")).to_have_attribute("data-bs-theme", scheme)
        assert demo.page.evaluate("document.documentElement.scrollWidth") <= width
    demo.page.screenshot(path=SCREENSHOT, full_page=True)
