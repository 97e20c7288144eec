"""Text to image and the comparison of samplers, as a person uses them."""

from __future__ import annotations

import re
import shutil
from functools import partial

import pytest
from playwright.sync_api import Page, expect

from tests.browser.page.traffic import wait_until_settled
from tests.patience import wait_until
from tests.studio.live import TINY

STEPS, BATCHES = 150, 16  # the longest job there is
COUNTING = re.compile(rf"Step \d+ of {STEPS * BATCHES}")


def fill_in(page: Page, prompt: str, steps: int = 2, batches: int = 1) -> None:
    expect(page.locator("#about-model")).not_to_be_empty()  # what it begins with is filled in
    open_advanced(page)
    for name, number in {
        "steps": steps,
        "batch-count": batches,
        "width": 64,
        "height": 64,
    }.items():
        put_number(page, f"#{name}", number)
    page.fill("#prompt textarea", prompt)


def put_number(page: Page, control: str, number: int) -> None:
    """Types a number that stays.

    What the page fills in, as it opens or for another model, may still be on its way before.
    """
    wait_until_settled(page)
    field = page.locator(f"{control} input[type=number]")
    field.fill(str(number))
    wait_until_settled(page)
    expect(field).to_have_value(str(number))


def open_advanced(page: Page) -> None:
    if not page.locator("#batch-count").is_visible():
        page.click("#advanced > button")
        page.locator("#batch-count").wait_for()


@pytest.fixture
def long_job(studio, visit, rest_at):
    """A page on which a job of many batches has just been sent; nothing of it runs on."""
    rest_at(20)
    page = visit()
    fill_in(page, "sixteen red mugs", steps=STEPS, batches=BATCHES)
    page.click("#paint")
    expect(page.locator("#cancel")).to_be_visible()
    expect(page.locator("#paint-panel .progress")).to_be_visible()
    yield page
    jobs = studio[0].jobs
    for job in jobs.list("local"):
        jobs.cancel("local", job.id)
    wait_until(lambda: not jobs.count_unfinished())


def test_paint_shows_the_picture_and_its_settings_and_what_cannot_be_painted_is_said(visit):
    page = visit()
    page.fill("#prompt textarea", "x" * 10_001)
    page.click("#paint")
    expect(page.locator("#paint-panel .error")).to_have_text(
        "Prompt has 10001 characters; at most 10000 are taken."
    )
    assert len(page.input_value("#prompt textarea")) == 10_001

    fill_in(page, "a <b>red</b> mug")
    page.fill("#seed input", "1234")
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text("a <b>red</b> mug")
    expect(page.locator("#painted-details")).to_contain_text("1234")
    picture = page.locator("#paint-panel .picture img")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    expect(page.locator("#cancel")).to_be_hidden()
    # Who does not see it is told.
    expect(page.locator("#announcer")).to_have_text("Finished: Picture 1: a <b>red</b> mug")
    expect(page.get_by_role("button", name="Picture 1: a <b>red</b> mug")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Atelier")

    page.click("#random-seed")
    expect(page.locator("#seed input")).to_have_value("-1")
    page.click("#reuse-seed")
    expect(page.locator("#seed input")).to_have_value("1234")
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(page.locator("#seed input")).to_have_value("1234")


@pytest.mark.deep
def test_preview_and_steps_are_shown_while_it_paints(long_job):
    expect(long_job.locator("#paint-panel .preview img")).to_be_visible()
    expect(long_job.locator("#paint-panel .progress")).to_contain_text(COUNTING)
    expect(long_job.locator("#paint-panel .progress")).to_contain_text("left")


def test_a_refresh_finds_the_running_job_and_cancel_stops_it_and_leaves_the_prompt(long_job):
    long_job.reload()
    long_job.problems.clear()  # the old page complains that its connection was cut
    expect(long_job.locator("#paint-panel .progress")).to_contain_text(COUNTING)
    expect(long_job.locator("#prompt textarea")).to_have_value("sixteen red mugs")
    expect(long_job.locator("#seed input")).to_have_value("-1")  # not the one that was drawn
    expect(long_job.locator("#cancel")).to_be_visible()
    long_job.click("#cancel")
    expect(long_job.locator("#paint-panel .summary")).to_contain_text("Cancelled")
    expect(long_job.locator("#cancel")).to_be_hidden()
    assert long_job.input_value("#prompt textarea") == "sixteen red mugs"


@pytest.mark.deep
def test_a_cancelled_job_is_tried_again_from_the_panel(long_job):
    long_job.click("#cancel")
    long_job.click("#paint-panel .again")
    expect(long_job.locator("#paint-panel .progress")).to_contain_text(COUNTING)
    expect(long_job.locator("#paint-panel .again")).to_have_count(0)
    expect(long_job.locator("#cancel")).to_be_visible()


@pytest.mark.deep
def test_pictures_of_a_batch_come_one_by_one(long_job, rest_at):
    rest_at(2 * STEPS + 1)
    long_job.click("#cancel")
    long_job.click("#paint-panel .again")
    expect(long_job.locator("#paint-panel .picture").nth(1)).to_be_visible()
    expect(long_job.locator("#paint-panel .progress")).to_be_visible()


@pytest.mark.deep
def test_only_schedules_that_fit_the_sampler_are_offered_and_eta_where_it_applies(visit):
    page = visit()
    open_advanced(page)
    choose(page, "#sampler", "DDIM")
    expect(page.locator("#eta")).to_be_visible()
    page.click("#schedule input")
    offered = page.locator("#schedule").get_by_role("option")
    expect(offered).to_have_count(2)
    assert [each.get_attribute("aria-label") for each in offered.all()] == [
        "Uniform",
        "SGM Uniform",
    ]
    page.keyboard.press("Escape")
    choose(page, "#sampler", "Euler")
    expect(page.locator("#eta")).to_be_hidden()


@pytest.mark.deep
def test_surprise_me_writes_a_prompt(visit):
    page = visit()
    page.fill("#prompt textarea", "")
    page.click(".button-row .surprise")
    expect(page.locator("#prompt textarea")).not_to_have_value("")


@pytest.mark.deep
def test_words_that_the_starter_has_never_seen_are_named(visit):
    page = visit()
    choose(page, "#model", "Atelier starter (Toybox)")
    page.fill("#prompt textarea", "a red penguin and a dragon")
    expect(page.locator("#unknown-words")).to_contain_text("penguin, dragon")
    page.fill("#prompt textarea", "a red mug")
    expect(page.locator("#unknown-words")).to_be_hidden()


def test_a_grid_is_refused_for_its_last_cell_then_painted_cancelled_and_found_again(visit, rest_at):
    page = visit()
    page.get_by_role("tab", name="Grid").click()
    expect(page.locator("#compare-panel .empty, #compare-panel .sheet").first).to_be_visible()
    expect(page.locator("#compare-forecast")).to_contain_text("pictures")  # nothing moved yet
    page.fill("#compare-prompt textarea", "a comparison")
    choose(page, "#compare-model", TINY)
    values = page.locator("#compare-x-values").locator("textarea, input").first
    values.fill("1, 2, 999")  # a wrong value in the last cell
    values.blur()
    expect(page.locator("#compare-forecast")).to_contain_text("Steps is 999; it must be at most")
    page.click("#compare")
    expect(page.locator("#compare-panel")).to_contain_text("Steps is 999; it must be at most")
    expect(page.locator("#compare-panel .picture")).to_have_count(0)
    values.fill("1, 2")
    values.blur()
    expect(page.locator("#compare-forecast")).to_contain_text("6 pictures")
    page.click("#compare")
    expect(page.locator("#compare-panel .sheet img")).to_be_visible()
    expect(page.locator("#compare-panel .sheet figcaption")).to_contain_text("Sampler: Euler, DPM")
    expect(page.locator("#compare-panel .picture")).to_have_count(6)
    page.locator("#compare-panel .picture").nth(5).click()
    expect(page.locator("#compare-details")).to_contain_text("UniPC")
    # One that is cancelled keeps what was painted; a new page shows it, with its axes.
    rest_at(5)
    values.fill("1, 150")
    values.blur()
    expect(page.locator("#compare-forecast")).to_contain_text("6 pictures")
    page.click("#compare")
    expect(page.locator("#compare-panel .progress")).to_be_visible()
    page.click("#compare-cancel")
    expect(page.locator("#compare-panel")).to_contain_text("Cancelled")
    page.goto(f"{page.url.partition('?')[0]}?tab=compare")
    expect(page.locator("#compare-panel")).to_contain_text("Cancelled")
    expect(page.locator("#compare-x-values").locator("textarea, input").first).to_have_value(
        "1, 150"
    )


@pytest.mark.deep
def test_a_picture_s_settings_are_compared_as_they_are(visit):
    page = visit()
    fill_in(page, "to be compared")
    page.fill("#guidance input[type=number]", "5")
    page.fill("#seed input", "9")
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text("to be compared")
    page.click("#painted-compare")
    expect(page.locator("#compare-prompt textarea")).to_have_value("to be compared")
    expect(page.locator("#compare-model input")).to_have_value(TINY)
    expect(page.locator("#compare-guidance input[type=number]")).to_have_value("5")
    expect(page.locator("#compare-seed input")).to_have_value("9")


@pytest.mark.deep
def test_a_comparison_follows_the_chosen_model_and_offers_what_has_come_since_the_start(
    visit, studio, twin_folder
):
    running, _ = studio
    page = visit()
    added = running.home / "models" / "added later"
    write = partial(shutil.copytree, twin_folder("sd1"))
    write(added)
    own = running.library.add_model("local", "mine", write, family="sd1")
    try:
        page.get_by_role("tab", name="Grid").click()
        expect(page.locator("#compare-about-model")).not_to_be_empty()
        page.click("#compare-model input")
        offered = page.locator("#compare-model").get_by_role("option")
        expect(offered.filter(has_text="added later")).to_have_count(1)
        offered.filter(has_text="mine").click()
        expect(page.locator("#compare-guidance input[type=number]")).to_have_value("7")
        page.locator("#compare-advanced > button").click()
        for side in ("width", "height"):
            expect(page.locator(f"#compare-{side} input[type=number]")).to_have_value("64")
    finally:
        shutil.rmtree(added)
        running.library.delete("local", own.id)


def choose(page: Page, picker: str, title: str) -> None:
    page.click(f"{picker} input")
    page.locator(picker).get_by_role("option", name=title, exact=True).click()
