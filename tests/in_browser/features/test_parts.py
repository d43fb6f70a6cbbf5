"""Parts of a page that come and go."""

from playwright.sync_api import expect

from support.matrix import as_under_shiny_run


@as_under_shiny_run("dynamic_ui.py", quick=True)
def test_what_is_drawn_later_brings_its_scripts_and_styles(tab):
    page = tab.open()
    page.locator("#draw_table").scroll_into_view_if_needed()
    yield
    page.locator("#draw_table").click()
    expect(page.locator("#grid tbody tr")).to_have_count(3)
    page.locator("#draw_editor").click()
    expect(page.locator("#code_is")).to_have_text("code: x = 1")
    editor = page.locator("#code textarea")
    editor.fill("y = 2")
    editor.press("Control+Enter")
    expect(page.locator("#code_is")).to_have_text("code: y = 2")
    page.locator("#draw_sidebar").click()
    expect(page.locator("#side_is")).to_have_text("open: True")
    page.locator(".collapse-toggle").click()
    expect(page.locator("#side_is")).to_have_text("open: False")
    return {
        "cells": page.locator("#grid tbody td").all_inner_texts(),
        "colours": page.locator("#code .token").all_inner_texts(),
        "layout": page.locator(".bslib-sidebar-layout").evaluate("found => getComputedStyle(found).display"),
    }
