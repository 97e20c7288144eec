"""From a picture, as a person uses it: a file is changed, kept through a reload, and sent on."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from studio.core.gallery.metadata import read_settings
from tests.browser.test_control import photo
from tests.browser.test_painting import choose, put_number
from tests.studio.live import TINY

STEPS, BATCHES = 150, 16  # the longest job there is
PICTURE_ID = re.compile(r"pictures/([\w-]+)\.png")


@pytest.fixture
def changing(visit, studio) -> Page:
    """The tab of somebody who has not used it yet, with the tiny model."""
    studio[0].store.write("DELETE FROM jobs WHERE kind = 'from_picture'")
    page = visit()
    page.get_by_role("tab", name="From a picture").click()
    expect(page.locator("#change-about-model")).not_to_be_empty()
    choose(page, "#change-model", TINY)
    return page


def bring(page: Page) -> None:
    page.locator("#change-canvas input[type=file]").set_input_files(photo((96, 64)))
    page.wait_for_function("() => window.atelierDrawings?.['change-canvas']?.value()")


def test_a_file_is_changed_kept_through_a_reload_sent_on_and_cancelled(changing, studio):
    page = changing
    page.click("#change")
    expect(page.locator("#change-board")).to_contain_text("There is no picture yet")
    bring(page)
    page.fill("#change-prompt textarea", "a red mug")
    put_number(page, "#change-steps", 4)
    put_number(page, "#change-strength", 0.5)
    page.locator("#change-all-steps").get_by_text("No", exact=True).click()
    page.click("#change")
    board = page.locator("#change-board")
    expect(board.locator(".versus")).to_be_visible()
    expect(board).to_contain_text("2 of 4 steps were run: the strength is 0.5.")
    id = PICTURE_ID.search(board.inner_html())[1]
    before = board.locator(".versus .map")
    assert before.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
    row = studio[0].gallery.get("local", id)
    assert row.request["from_picture"]["strength"] == 0.5
    parameters = read_settings(studio[0].gallery.path("local", id).read_bytes())
    assert parameters["Denoising strength"] == "0.5"

    page.reload()
    expect(page.locator("#change-board .versus")).to_be_visible()
    expect(page.locator("#change-strength input[type=number]")).to_have_value("0.5")
    expect(page.locator("#change-prompt textarea")).to_have_value("a red mug")
    brought = row.request["from_picture"]["picture"]
    on_paper = "id => window.atelierDrawings?.['change-canvas']?.value() === id"
    page.wait_for_function(on_paper, arg=brought)

    # The result goes on the canvas itself.
    page.locator("#change-board").get_by_role("img").first.wait_for()
    page.click("#changed-change")
    page.wait_for_function(on_paper, arg=studio[0].inputs.from_gallery("local", id).id)

    # Cancelling leaves it there.
    put_number(page, "#change-steps", STEPS)
    page.locator("#change-advanced > button").click()
    put_number(page, "#change-batch-count", BATCHES)
    page.click("#change")
    page.click("#change-cancel")
    expect(board.locator(".summary")).to_contain_text("Cancelled")
    expect(page.locator("#change-cancel")).to_be_hidden()
    assert page.evaluate(f"({on_paper})('{studio[0].inputs.from_gallery('local', id).id}')")
