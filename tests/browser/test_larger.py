"""Pictures in variations and made larger, as a person asks for them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.navigation import open_tab
from tests.browser.test_painting import choose, put_number
from tests.patience import wait_until
from tests.studio.live import TINY


@pytest.fixture
def page_with_picture(visit, studio) -> Page:
    """The page of somebody who has just painted one picture with the tiny model."""
    known = {job.id for job in studio[0].jobs.list("local")}
    page = visit()
    expect(page.locator("#about-model")).not_to_be_empty()
    choose(page, "#model", TINY)
    page.fill("#prompt textarea", "a red mug")
    put_number(page, "#steps", 2)
    page.click("#paint")
    job = wait_until(lambda: _newest(studio, known))
    row, *_ = studio[0].gallery.of_job("local", job.id)
    expect(page.locator(f"#paint-panel img[src*='{row.id}']").first).to_be_visible()
    expect(page.locator("#painted-details")).to_contain_text("a red mug")
    return page


def _newest(studio, known: set[str]):
    """The newest job, once it has ended, unless it is a known one."""
    newest = studio[0].jobs.list("local")[0]
    return newest if newest.id not in known and newest.ended else None


@pytest.mark.deep
def test_variations_of_a_picture_are_four_more_of_its_seed(page_with_picture, studio):
    page = page_with_picture
    expect(page.locator("#painted-vary")).to_be_visible()
    page.click("#painted-vary")
    expect(page.locator("#paint-panel .summary")).to_contain_text("4 pictures in")
    job = studio[0].jobs.list("local", kind="text_to_image")[0]
    rows = studio[0].gallery.of_job("local", job.id)
    seeds = {(row.request["seed"], row.request["variation"]["strength"]) for row in rows}
    assert seeds == {(rows[0].request["seed"], 0.2)}
    assert len({row.request["variation"]["seed"] for row in rows}) == 4


def test_a_painted_picture_is_made_larger_by_one_button_and_lies_in_the_gallery(
    page_with_picture, studio
):
    page = page_with_picture
    first, *_ = studio[0].gallery.of_job("local", studio[0].jobs.list("local")[0].id)
    page.locator("#painted-larger").wait_for()
    page.click("#painted-larger")
    panel = page.locator("#larger-panel")
    expect(panel.locator(".versus")).to_be_visible()
    job = next(job for job in studio[0].jobs.list("local") if job.kind in ("upscale", "enlarge"))
    (made,) = studio[0].gallery.of_job("local", job.id)
    assert (made.width, made.height) == (2 * first.width, 2 * first.height)
    before = panel.locator(".versus .map")
    assert before.evaluate("image => image.decode().then(() => image.naturalWidth)") == first.width
    assert "a red mug" in made.parameters, "what the picture shows is still known"

    # The other way, from the tab itself.
    painted_on = page.locator("#larger-by").get_by_text("Painting on", exact=True)
    painted_on.click()
    put_number(page, "#larger-scale", 1.5)
    if not page.locator("#larger-strength").is_visible():
        page.click("#larger-painting > button")
    put_number(page, "#larger-strength", 0.5)
    page.click("#larger")
    newest = wait_until(lambda: _newest(studio, {job.id}))
    (made,) = studio[0].gallery.of_job("local", newest.id)
    expect(panel.locator(f"img[src*='{made.id}']").first).to_be_visible()
    assert (made.width, made.height) == (3 * first.width // 2, 3 * first.height // 2)
    assert made.request["seed"] == first.request["seed"]
    assert "Hires strength: 0.5" in made.parameters
    details = page.locator("#larger-details")
    expect(details).to_contain_text("Hires strength")  # all that the job's end has to tell is there

    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(panel.locator(".versus")).to_be_visible()
    expect(details).to_contain_text("Hires strength")
    open_tab(page, "Gallery")
    expect(page.locator(f"#gallery-pictures [data-id='{made.id}']")).to_be_visible()
