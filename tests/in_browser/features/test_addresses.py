"""What a page asks for by HTTP: uploads, downloads, a session's routes, static files, bookmarks."""

import hashlib

from playwright.sync_api import expect

from support.browser import POLLING
from support.matrix import as_under_shiny_run

FETCH = """async ([path, options]) => {
    const response = await fetch(path, options);
    const text = await response.text().catch(error => error.message);
    return [response.status, response.headers.get('content-type'), text];
}"""


def fetch(page, path, **options):
    """What the page's own JavaScript is answered: status, type, text; of a broken answer what the browser says."""
    return page.evaluate(FETCH, [path, options])


@as_under_shiny_run("files.py")
def test_uploads_reach_their_session(tab):
    def upload(*names):
        files = [{"name": name, "mimeType": "text/plain", "buffer": name.encode() * 100_000} for name in names]
        page.locator("#upload").set_input_files(files)
        for name in names:
            digest = hashlib.sha256(name.encode() * 100_000).hexdigest()
            expect(page.locator("#uploaded")).to_contain_text(
                f"{name} {len(name.encode()) * 100_000} text/plain {digest}"
            )
        expect(page.locator("#upload_progress .progress-bar")).to_have_text("Upload complete")
        return page.locator("#uploaded").inner_text()

    page = tab.open()
    first = upload("one.txt", "zwei ü.txt")
    yield
    return first, upload("three.txt")


@as_under_shiny_run("files.py")
def test_downloads_come_from_their_session(tab):
    def download(id):
        with page.expect_download() as download:
            page.locator(f"#{id}").click()
        return download.value.suggested_filename, download.value.path().read_text()

    page = tab.open()
    expect(page.locator("#made")).not_to_have_class("disabled")
    first = download("made")
    yield
    page.locator("#word").fill("second")
    expect(page.locator("#arrived")).to_have_text("second")
    second = download("made")
    failing = fetch(page, page.locator("#failing").get_attribute("href"))
    return first, second, download("on_disk"), failing


@as_under_shiny_run("files.py")
def test_a_dynamic_route_answers_for_its_session(tab):
    def ask(**options):
        href = page.locator("#address").get_attribute("href")
        status, kind, text = fetch(page, f"{href}&x=1", **options)
        return status, kind, text.replace(href.partition("nonce=")[2], "<nonce>")

    page = tab.open()
    expect(page.locator("#address")).to_be_visible()
    first = ask()
    yield
    return first, ask(), ask(method="POST", body="a body")


@as_under_shiny_run("static_files.py")
def test_static_files_are_found(tab):
    page = tab.open()
    page.wait_for_load_state()
    yield
    page.locator("#draw").click()
    page.wait_for_function("document.querySelector('#later')?.complete", polling=POLLING)
    status, kind, text = fetch(page, "code/static_files.py")
    return {
        "widths": [
            page.locator(f"#{id}").evaluate("found => found.naturalWidth") for id in ("dot", "large", "later")
        ],
        "colour": page.locator("#styled").evaluate("found => getComputedStyle(found).color"),
        "script": page.locator("html").get_attribute("data-own"),
        "code": (status, kind, "static_assets=" in text),
        "missing": fetch(page, "pictures/missing.svg"),
        "a script, fetched": fetch(page, "own.js"),
    }


def bookmark(page):
    """Press the bookmark button; gives the address of the page from then on."""
    earlier = page.url
    page.locator("#\\._bookmark_").click()
    page.wait_for_function("earlier => location.href !== earlier", arg=earlier, polling=POLLING)
    return page.url


@as_under_shiny_run("bookmarks_url.py", also=("crowded",))
def test_a_bookmark_in_a_url_restores_the_session_in_another_process(tab):
    def restored(url):
        page = tab.another(url)
        expect(page.locator("#count")).to_have_text(count)
        inputs = [page.locator(id).input_value() for id in ("#name", "#n", "#secret")]
        return inputs, page.locator("#count").inner_text()

    page = tab.open()
    page.locator("#name").fill("Ada & Bob")
    page.locator("#secret").fill("hidden")
    page.locator("#more").click()
    count = "count: 1"
    expect(page.locator("#count")).to_have_text(count)
    first = restored(bookmark(page))
    yield
    page.locator("#more").click()
    count = "count: 2"
    expect(page.locator("#count")).to_have_text(count)
    second = restored(bookmark(page))
    return first, second, page.url.removeprefix(tab.url)


@as_under_shiny_run("bookmarks_server.py", also=("crowded",))
def test_a_bookmark_on_the_server_restores_the_session_in_another_process(tab):
    def restored(url):
        page = tab.another(url)
        expect(page.locator("#content")).to_contain_text("kept")
        return page.locator("#name").input_value(), page.locator("#content").inner_text()

    page = tab.open()
    expect(page.locator("#content")).to_have_text("nothing is kept")
    page.locator("#name").fill("Ada")
    earlier = bookmark(page)
    first = restored(earlier)
    yield
    page.locator("#name").fill("Bob")
    return first, restored(earlier), restored(bookmark(page))
