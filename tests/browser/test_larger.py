"""Pictures in variations and made larger, as a person asks for them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_painting import choose, put_number
from tests.studio.live import TINY


@pytest.fixture
def painted(visit, studio) -> Page:
    """The page of somebody who has just painted one picture with the tiny model."""
    page = visit()
    expect(page.locator("#about-model")).not_to_be_empty()
    choose(page, "#model", TINY)
    page.fill("#prompt textarea", "a red mug")
    put_number(page, "#steps", 2)
    page.click("#paint")
    expect(page.locator("#board .summary")).to_contain_text("Painted in")
    return page


def test_variations_of_a_picture_are_four_more_of_its_seed(painted, studio):
    page = painted
    expect(page.locator("#painted-vary")).to_be_visible()
    page.click("#painted-vary")
    expect(page.locator("#board .summary")).to_contain_text("4 pictures in")
    job = studio[0].jobs.list("local", kind="text_to_image")[0]
    rows = studio[0].gallery.of_job("local", job.id)
    seeds = {(row.request["seed"], row.request["variation"]["strength"]) for row in rows}
    assert seeds == {(rows[0].request["seed"], 0.2)}
    assert len({row.request["variation"]["seed"] for row in rows}) == 4
