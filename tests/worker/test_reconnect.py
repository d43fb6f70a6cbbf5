"""What the setting `reconnect` puts into an app's pages."""

import pytest
import yaml

from shiny_sticky.settings.model import AppSettings
from shiny_sticky.supervision.release import notice_options
from shiny_sticky.worker.middleware.page_scripts import PageScriptMiddleware
from support.page import PAGE, served
from support.real_site import ECHO


@pytest.mark.parametrize(
    ("text", "mode"),
    [("{}", "ask"), ("reconnect: inputs", "inputs"), ("reconnect: off", "off"), ('reconnect: "off"', "off")],
)
def test_pages_are_told_what_the_setting_says(text, mode):
    app = AppSettings(target=ECHO, **yaml.safe_load(text))
    _, page = served(lambda inner: PageScriptMiddleware(inner, notice_options(app), app.reconnect), PAGE)
    assert page.count(f'data-reconnect="{mode}"') == 1
