"""Who may show an app's pages in a frame is said with each response, unless the app says so itself."""

import asyncio

import pytest

from shiny_sticky.settings.model import Settings
from shiny_sticky.supervision.release import frame_ancestors
from shiny_sticky.worker.middleware.framing import FramingMiddleware
from support.real_site import ECHO


@pytest.mark.parametrize(
    ("own", "adds"),
    [
        ([], True),
        ([(b"content-security-policy", b"default-src 'self'")], True),
        ([(b"Content-Security-Policy", b"Frame-Ancestors https://portal.example")], False),
        ([(b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'")], False),
        ([(b"content-security-policy-report-only", b"frame-ancestors 'none'")], True),
    ],
)
def test_the_app_has_the_last_word(own, adds):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message):
        sent.append(message)

    asyncio.run(FramingMiddleware(app, "'self'")({"type": "http"}, None, send))
    added = [(b"content-security-policy", b"frame-ancestors 'self'")] if adds else []
    assert sent[0]["headers"] == own + added
    assert sent[1]["body"] == b"page"


@pytest.mark.parametrize(
    ("setting", "said"),
    [("self", "'self'"), ("any", ""), (["https://a.b", "https://*.c"], "'self' https://a.b https://*.c")],
)
def test_what_the_setting_says(setting, said):
    settings = Settings(apps={"app": {"target": ECHO}}, frame_ancestors=setting)
    assert frame_ancestors(settings) == said
