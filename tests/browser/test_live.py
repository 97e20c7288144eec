"""Live: the picture that follows what is changed, as a person sees it."""

from __future__ import annotations

import base64
import io
import threading
from urllib.parse import urlparse

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from studio.core.jobs import live
from tests.browser.test_control import HOUSE, draw, fresh_tab
from tests.browser.test_painting import fill_in, put_number
from tests.patience import PATIENCE, wait_until

__all__ = ["fresh_tab"]


@pytest.fixture
def live_requests(studio, monkeypatch) -> list[dict]:
    """The fields of each wish, as they come, and the picture once it is painted.

    However slow the machine is, Live stays on.
    """
    painting, seen = studio[0].live, []

    def paint(owner, kind, fields, *more):
        seen.append(dict(fields))
        made = paint_live(owner, kind, fields, *more)
        seen[-1]["painted"] = made.image
        return made

    paint_live = painting.paint
    monkeypatch.setattr(painting, "paint", paint)
    monkeypatch.setattr(painting, "limit", float("inf"))
    return seen


def pixels(page: Page) -> bytes:
    """Of the live picture."""
    source = page.get_attribute("#live-picture img", "src")
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
        return picture.tobytes()


def test_the_picture_follows_words_and_sliders_is_kept_as_it_was_seen_and_rests_when_off(
    studio, visit, live_requests
):
    running = studio[0]
    jobs = len(running.jobs.list("local", limit=500))
    page = visit()
    fill_in(page, "a red mug")
    page.fill("#seed input", "-1")
    page.check("#live input")
    picture = page.locator("#live-picture img")
    expect(picture).to_be_visible()
    expect(page.locator("#seed input")).not_to_have_value("-1")  # one seed for all that follows
    seed = page.input_value("#seed input")

    shown = picture.get_attribute("src")
    page.fill("#prompt textarea", "a blue duck")
    expect(picture).not_to_have_attribute("src", shown)
    expect(picture).to_have_attribute("alt", "Live: a blue duck")
    shown = picture.get_attribute("src")
    put_number(page, "#steps", 3)
    expect(picture).not_to_have_attribute("src", shown)
    wait_until(lambda: live_requests[-1]["steps"] == 3 and "painted" in live_requests[-1])
    wait_until(lambda: pixels(page) == live_requests[-1]["painted"].tobytes())
    assert {str(each["seed"]) for each in live_requests[1:]} == {seed}
    assert len(running.jobs.list("local", limit=500)) == jobs

    page.click("#live-keep")
    expect(page.locator("#painted-details .prompt")).to_have_text("a blue duck")
    expect(page.locator("#painted-details")).to_contain_text(seed)
    kept = page.locator("#paint-panel .picture img").get_attribute("src")
    path = running.gallery.path(
        "local", urlparse(kept).path.rpartition("/")[2].removesuffix(".png")
    )
    with Image.open(path) as opened:
        assert opened.tobytes() == pixels(page)

    page.uncheck("#live input")
    expect(picture).to_be_hidden()
    expect(page.locator("#seed input")).to_have_value("-1")  # that seed was Live's
    wishes = len(live_requests)
    page.fill("#prompt textarea", "a green boat")
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text("a green boat")
    assert len(live_requests) == wishes


def test_it_waits_for_others_and_goes_on_by_itself_and_too_slow_a_picture_switches_it_off(
    studio, visit, live_requests, monkeypatch
):
    page = visit()
    fill_in(page, "a red mug")
    monkeypatch.setattr(live, "WAIT_SECONDS", 0.0)
    with studio[0].jobs.lend_device(threading.Event(), PATIENCE) as is_lent:
        assert is_lent
        page.check("#live input")
        expect(page.locator("#live-words")).to_have_text(
            "Live waits until the jobs in the queue are done."
        )
        wait_until(lambda: len(live_requests) > 2)  # nobody touches anything
        expect(page.locator("#live-picture img")).to_have_count(0)
    expect(page.locator("#live-picture img")).to_be_visible()
    expect(page.locator("#live-words")).to_contain_text("Live: a picture in")
    monkeypatch.setattr(studio[0].live, "limit", 0.0)
    page.fill("#prompt textarea", "a blue mug")
    expect(page.locator("#live-words")).to_contain_text("Live is off: a picture takes about")
    expect(page.locator("#live input")).not_to_be_checked()
    expect(page.locator("#live-picture img")).to_be_hidden()


def test_it_follows_a_stroke_while_that_is_drawn(fresh_tab, live_requests):
    page = fresh_tab
    page.check("#steer-live input")
    expect(page.locator("#steer-live-words .error")).to_contain_text("There is nothing to follow")
    draw(page, HOUSE[:3])
    picture = page.locator("#steer-live-picture img")
    expect(picture).to_be_visible()
    box = page.locator("#unit-1-canvas canvas").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    shown, moved = picture.get_attribute("src"), 0

    def follows() -> bool:
        nonlocal moved
        moved += 5
        page.mouse.move(box["x"] + 20 + moved % 150, box["y"] + 20 + moved % 110)
        page.wait_for_timeout(50)
        return picture.get_attribute("src") != shown

    wait_until(follows)
    page.mouse.up()
    canvas = page.evaluate("window.atelierDrawings['unit-1-canvas'].whenSettled()")
    assert canvas is None
    last = page.evaluate("window.atelierDrawings['unit-1-canvas'].value()")
    wait_until(lambda: live_requests[-1]["units"][0]["picture"] == last)
    page.uncheck("#steer-live input")
