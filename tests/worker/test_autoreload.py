"""What --reload changes of an app's answers: pages get a script, and browsers keep none of them."""

import asyncio

import pytest

from shiny_sticky.worker.draining import WorkerState
from shiny_sticky.worker.middleware.autoreload import AutoreloadMiddleware

HTML = (b"content-type", b"text/html; charset=utf-8")
KEPT = [(b"etag", b'"1"'), (b"last-modified", b"Mon, 01 Jan 2024 00:00:00 GMT"), (b"content-length", b"40")]
PAGE = [b"<html><head><title>A</title>", b"</head><body></head></body>"]


def answer(headers: list, chunks: list[bytes], asked: list = ()) -> tuple[list, bytes, list]:
    """What the middleware makes of an answer: its headers and body; and the headers that the app was asked with."""
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async def send(message):
        sent.append(message)

    served = AutoreloadMiddleware(app, WorkerState(), "/lab/", "r1")
    asyncio.run(served({"type": "http", "path": "/lab/", "headers": asked}, None, send))
    return sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:]), seen


def test_a_page_gets_the_script_once_and_is_not_kept():
    headers, body, _ = answer([HTML, *KEPT], PAGE)
    tag = b'<script src="/lab/__sticky/autoreload.js?release=r1" defer></script>\n'
    assert body == PAGE[0] + tag + PAGE[1]
    assert headers == [HTML, (b"cache-control", b"no-store")]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"application/json"), *KEPT],
        [HTML, (b"content-encoding", b"br"), *KEPT],
        [],
    ],
    ids=["another type", "compressed", "no headers"],
)
def test_all_else_passes_as_it_is(headers):
    assert answer(headers, PAGE)[:2] == (headers, b"".join(PAGE))


def test_a_browser_does_not_go_on_with_a_page_of_before():
    page = [(b"accept", b"text/html,*/*"), (b"if-none-match", b'"1"')]
    assert answer([HTML], PAGE, page)[2] == page[:1]
    script = [(b"accept", b"*/*"), (b"if-none-match", b'"1"')]
    assert answer([HTML], PAGE, script)[2] == script
