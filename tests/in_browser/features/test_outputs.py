"""Outputs that talk back: tables that are edited, plots that are clicked, Jupyter widgets."""

from playwright.sync_api import expect
from shiny.playwright.controller import OutputDataFrame

from support.browser import POLLING
from support.matrix import as_under_shiny_run


@as_under_shiny_run("data_frame.py", also=("crowded",))
def test_a_data_frame_is_edited_filtered_and_selected(tab):
    page = tab.open()
    grid = OutputDataFrame(page, "grid")
    grid.expect_nrow(4)
    grid.set_cell("linz am see", row=1, col=0, finish_key="Enter")
    grid.expect_cell("LINZ AM SEE", row=1, col=0)
    page.keyboard.press("Escape")  # the next cell is open for an edit
    grid.set_filter({"col": 1, "value": (300, 330)})
    expect(page.locator("#viewed")).to_have_text("viewed: Wels, Steyr")
    grid.select_rows([0])
    expect(page.locator("#selected")).to_have_text("selected: Wels")
    yield
    grid.set_filter(None)
    expect(page.locator("#viewed")).to_have_text("viewed: Graz, LINZ AM SEE, Wels, Steyr")
    grid.set_cell("1000", row=0, col=1, finish_key="Enter")
    expect(page.locator("#all_of_it")).to_contain_text("1893")
    page.locator("#select_last").click()
    expect(page.locator("#selected")).to_have_text("selected: Steyr")
    texts = [page.locator(output).inner_text() for output in ("#selected", "#viewed", "#all_of_it")]
    return texts, page.locator("#grid tbody td").all_inner_texts()


@as_under_shiny_run("widgets.py")
def test_jupyter_widgets_are_heard_and_told_and_bring_their_scripts(tab):
    page = tab.open()
    expect(page.locator("#slid")).to_have_text("slid to 5")
    page.locator("#slider .ui-slider-handle").press("ArrowRight")
    expect(page.locator("#slid")).to_have_text("slid to 6")
    yield
    page.locator("#set").click()
    expect(page.locator("#slid")).to_have_text("slid to 9")
    expect(page.locator("#slider .widget-readout")).to_have_text("9")
    page.locator("#draw").click()
    page.locator("button.counter").click()
    expect(page.locator("#counted")).to_have_text("counted 1")
    return page.locator("button.counter").inner_text(), page.locator("#slider").inner_text()


@as_under_shiny_run("plots.py", also=("crowded",))
def test_a_plot_is_drawn_clicked_and_brushed(tab):
    def drawn():
        page.wait_for_function("document.querySelector('#plot img').complete", polling=POLLING)
        return picture.evaluate("picture => [picture.naturalWidth, picture.naturalHeight, picture.alt]")

    def click():
        picture.click(position={"x": 200, "y": 150})
        expect(clicked).to_contain_text("clicked")
        return clicked.inner_text()

    page = tab.open()
    picture, clicked = page.locator("#plot img"), page.locator("#clicked")
    expect(picture).to_be_visible()
    source = picture.get_attribute("src")
    first = drawn(), source[:22], click()
    yield
    page.locator("#top").fill("100")
    expect(picture).not_to_have_attribute("src", source)
    expect(clicked).to_be_empty()  # a new picture forgets the click, a moment after it is there
    second = drawn(), click()
    picture.drag_to(picture, source_position={"x": 100, "y": 100}, target_position={"x": 300, "y": 200})
    expect(page.locator("#brushed")).to_contain_text("to")
    return first, second, page.locator("#brushed").inner_text()
