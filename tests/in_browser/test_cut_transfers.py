"""In Chromium, what is on its way when the network goes arrives whole once it is back."""

import hashlib
import os

import pytest
from playwright.sync_api import expect

from support.real_site import ROOT, Site, until
from support.tab import session_id

TRANSFERRING = str(ROOT / "tests" / "apps" / "transferring_app.py")
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def site(browser):
    with Site({"app": {"target": TRANSFERRING, "workers": 2, "max_upload": "100MB"}}) as shared:
        yield shared.start()


def after(many: int, by_client: bool):
    """A fuse that blows once so many bytes have come from one side."""
    passed = 0

    def blown(piece: bytes, from_client: bool) -> bool:
        nonlocal passed
        passed += len(piece) if from_client == by_client else 0
        return passed >= many

    return blown


def at_the_answer_to_a_post():
    """A fuse that blows when all of a POST has passed, and the first byte of its answer comes."""
    posted = False

    def blown(piece: bytes, from_client: bool) -> bool:
        nonlocal posted
        posted = posted or (from_client and piece.startswith(b"POST "))
        return posted and not from_client and piece.startswith(b"HTTP/1.1 200")

    return blown


def lose_network(page, network, fuse):
    """Let the network go by a fuse; then let it come back, the page having noticed that it was gone."""
    lost = "new Promise(lost => document.addEventListener('shiny-sticky:connection', lost, {once: true}))"
    page.evaluate(f"void (window.lost = {lost})")
    network.fuse = fuse
    yield
    until(lambda: not network.reachable, "the network is gone")
    page.evaluate("lost")
    network.fuse = lambda piece, by_client: False
    network.reconnect()
    yield


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["in the body", "before the answer"])
def test_files_that_are_uploaded_arrive_whole_and_once(page, network, tmp_path, cut):
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.bin")
        files[-1].write_bytes(os.urandom(50 * MEGABYTE if number else MEGABYTE))
    session = session_id(page)
    fuse = after(25 * MEGABYTE, by_client=True) if cut == "in the body" else at_the_answer_to_a_post()
    losing = lose_network(page, network, fuse)
    next(losing)
    page.locator("#files").set_input_files(files)
    next(losing)
    sums = " ".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    expect(page.locator("#received")).to_have_text(sums)
    expect(page.locator("#files_progress")).to_have_text("Upload complete")
    assert session_id(page) == session


@pytest.mark.slow
def test_what_is_put_into_the_page_is_there_whole_and_once(page, network):
    session = session_id(page)
    losing = lose_network(page, network, after(MEGABYTE // 5, by_client=False))
    next(losing)
    page.locator("#more").click()
    next(losing)
    expect(page.locator("#inserted")).to_have_count(1)
    assert page.locator("#inserted").inner_text().split() == [str(n) for n in range(300_000)]
    assert session_id(page) == session


@pytest.mark.slow
def test_a_download_that_was_cut_is_whole_the_second_time(page, network):
    """Browsers ask for it again when they are told to; the session is there to make it."""
    session = session_id(page)
    losing = lose_network(page, network, after(8 * MEGABYTE, by_client=False))
    next(losing)
    with page.expect_download() as download:
        page.locator("#numbers").click()
    next(losing)
    assert download.value.failure()
    with page.expect_download() as download:
        page.locator("#numbers").click()
    content = download.value.path().read_bytes()
    assert content == b"".join(n.to_bytes(4, "big") for n in range(5_000_000))
    assert session_id(page) == session
