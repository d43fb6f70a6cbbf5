"""Parts of a page, and those that come and go: Core, Express, modules, inserted and removed UI, modals."""

from playwright.sync_api import expect

from support.matrix import as_under_shiny_run


@as_under_shiny_run("dynamic_ui.py", also=("restart", "crowded"))
def test_what_is_drawn_later_brings_its_scripts_and_styles(tab):
    page = tab.open()
    expect(page.locator("#draw_table.shiny-bound-input")).to_be_visible()
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


@as_under_shiny_run("core.py", also=("crowded",))
def test_a_core_app_calculates_updates_inputs_and_asks_the_server_for_choices(tab):
    def slide(to):
        page.locator("#n").evaluate("(slider, to) => $(slider).data('ionRangeSlider').update({from: to})", to)
        expect(shown).to_contain_text(f"{to * to}, ")
        return shown.inner_text(), page.locator("#table td").all_inner_texts()

    def choose(town):
        choice = page.locator("#town + .selectize-control")
        choice.click()
        page.keyboard.press("Backspace")  # takes out an earlier one: with that it is full
        page.keyboard.type(town)
        choice.get_by_text(town, exact=True).click()
        expect(shown).to_contain_text(town)

    page = tab.open()
    shown = page.locator("#shown")
    expect(shown).to_have_text("400, no letter, no town")
    page.get_by_label("b", exact=True).check()
    expect(shown).to_contain_text("b")
    choose("Town 4321")
    first = slide(30)
    yield
    page.get_by_label("c", exact=True).check()
    choose("Town 1234")
    expect(shown).to_have_text("900, b, c, Town 1234")
    second = slide(40)
    page.locator("#reset").click()
    expect(shown).to_have_text("400, no letter, Town 1234")
    return page.title(), first, second, page.locator(".shiny-notification-content-text").all_inner_texts()


@as_under_shiny_run("express.py")
def test_an_express_app_draws_what_its_code_says(tab):
    page = tab.open()
    expect(page.locator("#greeting")).to_have_text("Hello nobody")
    page.locator("#more").click()
    expect(page.locator(".row-of-mine")).to_have_count(2)
    yield
    page.locator("#name").fill("Ada")
    expect(page.locator("#greeting")).to_have_text("Hello Ada")
    page.locator("#more").click()
    expect(page.locator(".row-of-mine")).to_have_count(3)
    return {
        "title": page.title(),
        "card": page.locator("#card").inner_text(),
        "included style": page.locator("#card").evaluate("card => getComputedStyle(card).borderTopColor"),
        "picture from www/": page.locator("#dot").evaluate("picture => picture.naturalWidth"),
    }


@as_under_shiny_run("modules.py", also=("crowded",))
def test_modules_keep_their_states_apart(tab):
    page = tab.open()
    expect(page.locator("#both")).to_have_text("0 and 100")
    page.locator("#left-more").click()
    page.locator("#right-inner-label").fill("right one")
    expect(page.locator("#both")).to_have_text("1 and 100")
    yield
    page.locator("#right-more").click()
    page.locator("#left-inner-label").fill("left one")
    expect(page.locator("#both")).to_have_text("1 and 101")
    expect(page.locator("#left-count")).to_have_text("left one: 1")
    return page.locator(".shiny-text-output").all_inner_texts()


@as_under_shiny_run("inserted.py", also=("crowded",))
def test_ui_is_inserted_and_removed_with_its_inputs_and_outputs(tab):
    def insert(number):
        page.locator("#insert").click()
        expect(page.locator(f"#echo{number}")).to_have_text(f"name{number}: new")
        page.locator(f"#name{number}").fill(f"text {number}")
        expect(page.locator(f"#echo{number}")).to_have_text(f"name{number}: text {number}")

    page = tab.open()
    insert(1)
    insert(2)
    yield
    page.locator("#remove").click()
    expect(page.locator(".part")).to_have_count(1)
    page.locator("#name2").fill("changed")
    expect(page.locator("#echo2")).to_have_text("name2: changed")
    insert(3)
    return page.locator("#place .shiny-text-output").all_inner_texts()


@as_under_shiny_run("inserted.py", also=("crowded",))
def test_modals_open_answer_and_close(tab):
    def ask():
        page.locator("#ask").click()
        expect(page.locator("#shiny-modal")).to_be_focused()  # which ends its opening; before, it does not close
        expect(page.locator("#reply.shiny-bound-input")).to_be_visible()

    def reply(text):
        ask()
        page.locator("#reply").fill(text)
        page.locator("#ok").click()
        expect(page.locator(".modal-dialog")).to_have_count(0)
        expect(page.locator("#answer")).to_have_text(f"answer: {text}")
        return page.locator("#answer").inner_text()

    page = tab.open()
    first = reply("yes")
    ask()  # stays open over the deploy
    yield
    page.keyboard.press("Escape")
    expect(page.locator(".modal-dialog")).to_have_count(0)
    ask()
    page.get_by_text("Dismiss").click()
    expect(page.locator(".modal-dialog")).to_have_count(0)
    return first, page.locator("#answer").inner_text(), reply("no")
