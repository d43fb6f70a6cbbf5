"""Checks of the page: what a first visit costs, and what a second one asks for again."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator

from shiny_sticky.client.address import Address, NoAddress
from shiny_sticky.client.verify.plan import MOST_FILES
from shiny_sticky.client.verify.run import Run
from shiny_sticky.client.verify.stickiness import told
from shiny_sticky.client.visitor import NotAnswered, Reply

BROWSERS_TAKE = "gzip, deflate, br, zstd"

LINKS_THAT_LOAD = {"stylesheet", "preload", "modulepreload", "icon"}

# Text that is smaller gains nothing.
WORTH_COMPRESSING = 1400

PLAIN = "identity"

TEXT = re.compile(r"text/|application/(javascript|json|xml|manifest)|image/svg")


class _Files(html.parser.HTMLParser):
    """Collects the URLs that a browser asks for when it has read a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        loads = set((values.get("rel") or "").lower().split()) & LINKS_THAT_LOAD
        url = (
            values.get("href")
            if tag == "link" and loads
            else values.get("src")
            if tag in ("script", "img")
            else None
        )
        if url and not url.startswith("data:") and url not in self.urls:
            self.urls.append(url)


def check_page(run: Run) -> None:
    """Load the page as a browser does that was never there."""
    visitor = run.visitor()

    def loaded(address: Address) -> Reply | str:
        try:
            return visitor.ask(address, headers={"Accept-Encoding": BROWSERS_TAKE})
        except NotAnswered as error:
            return str(error)

    with run.report.progress("Loading the page as a new browser does ..."):
        found = [loaded(run.address), *run.each(loaded, _own_files(run.page))]
    replies = [reply for reply in found if isinstance(reply, Reply)]
    failed = [each if isinstance(each, str) else str(each.status) for each in found if _has_failed(each)]
    kilobytes = sum(len(reply.body) for reply in replies) / 1000
    facts = {"requests": len(found), "kilobytes": round(kilobytes), "failed": len(failed)}
    says = f"A first visit: {len(found)} requests, {kilobytes:,.0f} KB"
    if failed:
        says += f"; {len(failed)} of them failed: {told(failed)}"
    run.judged("page", not failed, says, **facts)
    whole = [reply for reply in replies if not _has_failed(reply)]
    _check_compression(run, whole)
    _check_caching(run, whole[1:])
    _check_page_caching(run, run.page)


def _own_files(page: Reply) -> list[Address]:
    """The addresses of the page's files, but for those of other sites."""
    parser = _Files()
    parser.feed(page.text)

    def addresses() -> Iterator[Address]:
        for url in parser.urls:
            try:
                address = page.address.relative(url)
            except NoAddress:
                continue
            if address.is_same_site(page.address):
                yield address

    return list(dict.fromkeys(addresses()))[:MOST_FILES]


def _has_failed(found: Reply | str) -> bool:
    return isinstance(found, str) or found.status >= 400


def _check_compression(run: Run, replies: list[Reply]) -> None:
    texts = [reply for reply in replies if _is_worth_compressing(reply)]
    used = {str(reply.headers.get("Content-Encoding", PLAIN)) for reply in texts}
    plain = [len(reply.body) for reply in texts if reply.headers.get("Content-Encoding", PLAIN) == PLAIN]
    facts = {"texts": len(texts), "plain": len(plain), "plain_kilobytes": round(sum(plain) / 1000)}
    if not texts:
        run.none("compression", "No text is large enough to be compressed", **facts)
    elif plain:
        says = f"{len(plain)} of {len(texts)} texts come uncompressed, {sum(plain) / 1000:,.0f} KB"
        run.bad("compression", says, **facts)
    else:
        run.good("compression", f"All text is compressed ({', '.join(sorted(used))})", **facts)


def _is_worth_compressing(reply: Reply) -> bool:
    return len(reply.body) >= WORTH_COMPRESSING and TEXT.match(reply.headers.get_content_type()) is not None


def _check_caching(run: Run, files: list[Reply]) -> None:
    again = [reply for reply in files if not is_fresh_later(reply)]
    facts = {"files": len(files), "asked_again": len(again)}
    if not files:
        run.none("caching", "The page names no files", **facts)
    elif again:
        run.bad("caching", f"A second visit asks for {len(again)} of {len(files)} files again", **facts)
    else:
        run.good("caching", f"A second visit has all {len(files)} files", **facts)


def is_fresh_later(reply: Reply) -> bool:
    """Whether a browser keeps a file, and does not ask for it again on the next visit."""
    said = str(reply.headers.get("Cache-Control", "")).lower()
    if "no-store" in said or "no-cache" in said:
        return False
    age = re.search(r"\bmax-age=\"?(\d+)", said)
    if age:
        return int(age[1]) > 0
    return "immutable" in said or bool(reply.headers.get("Expires", "0").strip("0-1"))


def _check_page_caching(run: Run, page: Reply) -> None:
    """Look whether somebody may keep the page for others, with a cookie that is one visitor's."""
    said = str(page.headers.get("Cache-Control", "")).lower()
    kept = re.search(r"\b(s-maxage|max-age)=\"?[1-9]", said) is not None and "private" not in said
    facts = {"cache_control": said}
    if "public" in said or kept:
        run.bad("page_caching", f"The page itself may be kept for others (Cache-Control: {said})", **facts)
    else:
        run.good("page_caching", "The page itself is not kept for others", **facts)
