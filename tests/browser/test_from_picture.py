"""From a picture, as a person uses it: a file is changed, kept through a reload, and sent on."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from studio.core.gallery.metadata import read_settings
from studio.page.units.beside import UnitBeside
from tests.browser.navigation import open_tab
from tests.browser.test_control import photo
from tests.browser.test_painting import choose, put_number
from tests.patience import wait_until
from tests.studio.live import TINY

STARTER = "Atelier starter (Toybox)"
PICTURE_ID = re.compile(r"pictures/([\w-]+)\.png")


@pytest.fixture
def fresh_tab(visit, studio) -> Page:
    """The tab of somebody who has not used it yet, with the tiny model."""
    studio[0].store.write("DELETE FROM jobs WHERE kind = 'from_picture'")
    page = visit(path="?tab=from-picture")
    expect(page.locator("#change-about-model")).not_to_be_empty()
    # All else is filled in as well: for the starter, which goes with other control models.
    expect(page.locator("#change-curves svg")).to_be_visible()
    choose(page, "#change-model", TINY)
    return page


def bring(page: Page, size=(96, 64)) -> None:
    page.locator("#change-canvas .mask-layer").wait_for()  # canvas and mask can be drawn on
    page.locator("#change-canvas input[type=file]").set_input_files(photo(size))
    page.wait_for_function("() => window.atelierDrawings?.['change-canvas']?.value()")


MASK = "window.atelierMasks?.['change-mask']?.value()"


def paint_mask(page: Page, *places: tuple[float, float]) -> str:
    """Draws a line on the mask through places of the canvas, as shares of its sides; its id."""
    before = page.evaluate(MASK)
    layer = page.locator("#change-canvas .mask-layer")
    layer.scroll_into_view_if_needed()
    box = layer.bounding_box()
    (x, y), *rest = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in rest:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    page.wait_for_function(f"before => !['unsent', before].includes({MASK})", arg=before)
    return page.evaluate(MASK)


def masked_share(page: Page) -> float:
    """How red the layer over the canvas is, in all; softer edges leave that as it is."""
    return page.locator("#change-canvas .mask-layer").evaluate(
        """layer => {
        const {data} = layer.getContext("2d").getImageData(0, 0, layer.width, layer.height);
        let red = 0; for (let at = 3; at < data.length; at += 4) red += data[at] / 255;
        return 4 * red / data.length; }"""
    )


def press(page: Page, act: str) -> float:
    """Presses a button of the mask and waits until the mask has been sent; the share masked."""
    before = page.evaluate(MASK)
    page.click(f"#change-mask [data-do={act}]")
    page.wait_for_function(f"before => !['unsent', before].includes({MASK})", arg=before)
    return masked_share(page)


@pytest.mark.deep
def test_a_finger_paints_a_mask_and_the_picture_grows_on_a_phone(studio, visit):
    studio[0].store.write("DELETE FROM jobs WHERE kind = 'from_picture'")
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = visit(path="?tab=from-picture", **phone)
    expect(page.locator("#change-about-model")).not_to_be_empty()
    choose(page, "#change-model", TINY)
    bring(page, (90, 60))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#change-mask [data-paints]").tap()
    layer = page.locator("#change-canvas .mask-layer")
    layer.scroll_into_view_if_needed()
    box = layer.bounding_box()
    touch = page.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.7)):
        point = {"x": box["x"] + share * box["width"], "y": box["y"] + box["height"] / 2}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(f"!['unsent', '', undefined].includes({MASK})")
    assert 0.03 < masked_share(page) < 0.4
    # Not by a tap: the page may still move below the finger.
    page.locator("#change-outpaint > button").evaluate("button => button.click()")
    page.locator("#change-right input").fill("50")
    percent = page.locator("#change-unit").get_by_text("Percent", exact=True)
    percent.evaluate("words => words.click()")  # likewise
    expect(page.locator("#change-part figcaption")).to_contain_text("becomes 135×60 pixels")
    # The room at the side is as wide as half of the picture, and all of it is on the screen.
    canvas, room = (
        page.locator(f"#change-canvas {each}") for each in ("canvas >> nth=0", ".margins")
    )
    assert room.bounding_box()["width"] == pytest.approx(
        1.5 * canvas.bounding_box()["width"], rel=0.02
    )
    assert room.bounding_box()["width"] <= 390
    put_number(page, "#change-steps", 2)
    page.fill("#change-prompt textarea", "a red mug")
    id, after = result_of(page, studio)
    assert after.shape == (60, 135, 3)
    assert (
        read_settings(studio[0].gallery.path("local", id).read_bytes())["Outpaint"] == "right 50%"
    )


SEVERAL = "window.atelierSeveral?.['change-several']?.value()"


def test_several_files_are_changed_at_once_and_outlive_a_reload(fresh_tab, studio):
    page = fresh_tab
    page.locator("#change-canvas .mask-layer").wait_for()
    page.wait_for_function(f"{SEVERAL} !== undefined")
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}
    words = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"}
    files = [photo((96, 64)), words, photo((64, 96)), broken, photo((80, 80))]
    page.evaluate("document.querySelector('#change-canvas input[type=file]').multiple = true")
    page.locator("#change-canvas input[type=file]").set_input_files(files)
    several = page.locator("#change-several")
    expect(several.locator("li")).to_have_count(2)
    expect(several.locator(".error")).to_contain_text("notes.txt: This is not a PNG")
    expect(several.locator(".error")).to_contain_text("broken.png: ")
    expect(several).to_contain_text("2 more pictures are changed in the same way")
    page.fill("#change-prompt textarea", "a red mug")
    put_number(page, "#change-steps", 2)
    page.problems.clear()  # the browser tells of the refused upload
    page.click("#change")
    panel = page.locator("#change-panel")
    expect(panel).to_contain_text("3 pictures in")
    expect(panel.locator("button.picture")).to_have_count(3)
    shown = [PICTURE_ID.search(panel.inner_html())[1]]
    rows = studio[0].gallery.of_job("local", studio[0].gallery.get("local", shown[0]).job_id)
    assert [(row.width, row.height) for row in rows] == [(96, 64), (64, 96), (64, 64)]

    page.reload()
    expect(panel.locator("button.picture")).to_have_count(3)
    expect(several.locator("li")).to_have_count(2)
    several.locator("[data-out]").first.click()
    expect(several).to_contain_text("One more picture is changed in the same way")

    open_tab(page, "Gallery")
    page.click("#gallery-tools [data-do=several]")
    pictures = page.locator("#gallery-pictures .picture")
    for place in (0, 1, 2):
        pictures.nth(place).click()
    page.click("#gallery-tools [data-do=send-change]")
    expect(page.locator("#change")).to_be_visible()
    expect(several.locator("li")).to_have_count(2)
    brought = [studio[0].inputs.from_gallery("local", row.id).id for row in rows]
    page.wait_for_function(f"wanted => {SEVERAL} === wanted", arg=",".join(brought[1:]))


def test_a_file_is_changed_kept_through_a_reload_sent_on_and_cancelled(fresh_tab, studio, rest_at):
    page = fresh_tab
    page.click("#change")
    expect(page.locator("#change-panel")).to_contain_text("There is no picture yet")
    bring(page)
    page.fill("#change-prompt textarea", "a red mug")
    put_number(page, "#change-steps", 4)
    put_number(page, "#change-strength", 0.5)
    page.locator("#change-all-steps").get_by_text("No", exact=True).click()
    page.click("#change")
    panel = page.locator("#change-panel")
    expect(panel.locator(".versus")).to_be_visible()
    expect(panel).to_contain_text("2 of 4 steps were run: the strength is 0.5.")
    id = PICTURE_ID.search(panel.inner_html())[1]
    before = panel.locator(".versus .map")
    assert before.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
    row = studio[0].gallery.get("local", id)
    assert row.request["from_picture"]["strength"] == 0.5
    parameters = read_settings(studio[0].gallery.path("local", id).read_bytes())
    assert parameters["Denoising strength"] == "0.5"

    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(page.locator("#change-panel .versus")).to_be_visible()
    expect(page.locator("#change-strength input[type=number]")).to_have_value("0.5")
    expect(page.locator("#change-prompt textarea")).to_have_value("a red mug")
    brought = row.request["from_picture"]["picture"]
    on_canvas = "id => window.atelierDrawings?.['change-canvas']?.value() === id"
    page.wait_for_function(on_canvas, arg=brought)

    # The result goes on the canvas itself.
    page.locator("#change-panel").get_by_role("img").first.wait_for()
    page.click("#changed-change")
    page.wait_for_function(on_canvas, arg=studio[0].inputs.from_gallery("local", id).id)

    # Cancelling leaves it there.
    rest_at(5)
    put_number(page, "#change-steps", 40)  # of which the strength leaves 20
    page.click("#change")
    page.click("#change-cancel")
    expect(panel.locator(".summary")).to_contain_text("Cancelled")
    expect(page.locator("#change-cancel")).to_be_hidden()
    assert page.evaluate(f"({on_canvas})('{studio[0].inputs.from_gallery('local', id).id}')")


def result_of(page: Page, studio: tuple) -> tuple[str, np.ndarray]:
    """Paints; the id of the picture, and the picture."""
    before = page.locator("#change-panel").inner_html()
    page.click("#change")
    page.wait_for_function(
        """before => { const panel = document.querySelector('#change-panel');
        return panel.querySelector('.versus') && !panel.querySelector('.progress')
          && panel.innerHTML !== before; }""",
        arg=before,
    )
    id = PICTURE_ID.search(page.locator("#change-panel").inner_html())[1]
    with Image.open(studio[0].gallery.path("local", id)) as picture:
        return id, np.asarray(picture.convert("RGB"))


def test_a_mask_is_painted_outlives_the_tab_and_a_reload_and_only_its_part_changes(
    fresh_tab, studio
):
    page = fresh_tab
    bring(page, (120, 80))
    picture = page.evaluate("window.atelierDrawings['change-canvas'].value()")
    page.click("#change-mask [data-paints]")
    page.click("#change-mask [data-size='24']")
    paint_mask(page, (0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7), (0.3, 0.3))
    ring = masked_share(page)
    # A line around a place is a mask of the place, or of all around it.
    inside = press(page, "inside")
    assert inside > 0.16 > ring
    assert press(page, "invert") == pytest.approx(1 - inside, abs=0.01)
    assert press(page, "undo") == pytest.approx(inside, abs=0.01)
    assert press(page, "shrink") < inside
    assert press(page, "undo") == pytest.approx(inside, abs=0.01)
    # The picture below is the file that was brought in, and can be undone apart from the mask.
    assert page.evaluate("window.atelierDrawings['change-canvas'].value()") == picture

    page.click("#change-mask-fields > button")
    page.locator("#change-area").get_by_text("Only masked", exact=True).click()
    expect(page.locator("#change-part figcaption")).to_contain_text("pixels around the mask")
    page.fill("#change-prompt textarea", "a red mug")
    put_number(page, "#change-steps", 2)
    put_number(page, "#change-mask-blur", 2)
    mask = page.evaluate(MASK)
    id, after = result_of(page, studio)
    asked = studio[0].gallery.get("local", id).request["from_picture"]
    assert (asked["mask"], asked["area"], asked["mask_blur"]) == (mask, "masked", 2)
    before = np.asarray(studio[0].inputs.open("local", picture))
    rows, columns = np.nonzero((before != after).any(axis=-1))
    assert after.shape == before.shape
    # The ring goes from 36 to 84 of 120, and from 24 to 56 of 80; its brush and the blur add 3 + 5.
    assert 26 <= columns.min() < 40 < 80 < columns.max() <= 94
    assert 14 <= rows.min() < 28 < 52 < rows.max() <= 66

    page.get_by_role("tab", name="Text to image").click()
    page.locator("#paint").wait_for()
    page.get_by_role("tab", name="From a picture").click()
    assert page.evaluate(MASK) == mask
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    page.wait_for_function(f"mask => {MASK} === mask", arg=mask)
    expect(page.locator("#change-mask .state")).to_contain_text("of the picture may change")
    assert masked_share(page) == pytest.approx(inside, abs=0.01)
    assert press(page, "undo") == pytest.approx(ring, abs=0.01), "what can be undone is kept too"

    # Another picture has no mask, and nothing of the old one comes back.
    glass = Image.new("RGBA", (64, 64), "red")
    glass.paste((0, 0, 0, 0), (0, 0, 32, 32))
    file = io.BytesIO()
    glass.save(file, "PNG")
    page.locator("#change-canvas input[type=file]").set_input_files(
        {"name": "glass.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.wait_for_function(f"{MASK} === ''")
    expect(page.locator("#change-mask .no-mask")).to_be_visible()
    assert masked_share(page) == 0
    # What is transparent in it is masked by a button; cleared, nothing is.
    assert press(page, "alpha") == pytest.approx(0.25, abs=0.02)
    assert press(page, "clear") == 0
    id, _ = result_of(page, studio)
    assert studio[0].gallery.get("local", id).request["from_picture"]["mask"] is None


def test_a_picture_is_changed_and_followed_at_once_and_all_of_it_comes_back(fresh_tab, studio):
    page = fresh_tab
    bring(page)
    page.click("#change-units > button")
    followed = page.locator("#change-unit-1-source")
    followed.get_by_text("The picture itself", exact=True).click()
    read = page.locator("#change-unit-1-map img")
    expect(read).to_be_visible()
    expect(page.locator("#change-unit-1-canvas")).to_be_hidden()
    expect(page.locator("#change-unit-1-model input")).not_to_have_value("")
    page.fill("#change-prompt textarea", "a red mug")
    put_number(page, "#change-steps", 2)
    put_number(page, "#change-unit-1-weight", 0.6)
    id, _ = result_of(page, studio)
    made = studio[0].gallery.get("local", id).request
    (unit,) = made["units"]
    assert unit["picture"] == made["from_picture"]["picture"]
    assert (unit["preprocessor"], unit["weight"], unit["crop_along"]) == ("scribble", 0.6, None)
    line = read_settings(studio[0].gallery.path("local", id).read_bytes())["ControlNet 0"]
    assert line.endswith("Same Picture: True")

    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(page.locator("#change-panel .versus")).to_be_visible()
    itself = followed.locator("input[value=itself]")
    expect(itself).to_be_checked()
    expect(read).to_be_visible()
    expect(page.locator("#change-unit-1-weight input[type=number]")).to_have_value("0.6")
    followed.get_by_text("None", exact=True).click()
    expect(read).to_be_hidden()
    page.click("#changed-use")
    expect(itself).to_be_checked()
    expect(read).to_be_visible()

    # An own picture has a canvas of its own.
    followed.get_by_text("Another picture", exact=True).click()
    canvas = page.locator("#change-unit-1-canvas input[type=file]")
    page.wait_for_function("() => window.atelierDrawings?.['change-unit-1-canvas']")
    canvas.set_input_files(photo((64, 64)))
    page.wait_for_function("() => window.atelierDrawings['change-unit-1-canvas'].value()")
    id, _ = result_of(page, studio)
    made = studio[0].gallery.get("local", id).request
    assert made["units"][0]["picture"] != made["from_picture"]["picture"]

    # What is new at a side is painted anew, where nobody has said how strongly.
    page.click("#change-outpaint > button")
    page.locator("#change-right input").fill("32")
    expect(page.locator("#change-strength input[type=number]")).to_have_value("1")


def test_maps_follow_the_part_that_is_painted_and_are_asked_for_only_where_they_are_followed(
    fresh_tab, monkeypatch
):
    page, asked = fresh_tab, []
    make_map = UnitBeside._make_map

    def count(unit, *given, **named):
        asked.append(unit.number)
        return make_map(unit, *given, **named)

    monkeypatch.setattr(UnitBeside, "_make_map", count)
    bring(page)
    page.click("#change-units > button")
    page.locator("#change-unit-1-source").get_by_text("The picture itself", exact=True).click()
    read = page.locator("#change-unit-1-map img")
    expect(read).to_be_visible()
    whole = read.get_attribute("src")
    assert set(asked) == {1}
    asked.clear()
    page.click("#change-mask [data-paints]")
    page.click("#change-mask [data-size='12']")
    paint_mask(page, (0.15, 0.4), (0.3, 0.6))  # across an edge of what is on it
    page.click("#change-mask-fields > button")
    put_number(page, "#change-padding", 0)
    part = page.locator("#change-area")
    part.get_by_text("Only masked", exact=True).click()
    expect(page.locator("#change-part figcaption")).to_contain_text("pixels around the mask")
    expect(read).not_to_have_attribute("src", whole)
    assert asked == [1], (
        "the first line of the mask is not asked for: all of the picture is painted"
    )
    shown = read.get_attribute("src")
    paint_mask(page, (0.7, 0.4), (0.75, 0.5))
    expect(read).not_to_have_attribute("src", shown)
    part.get_by_text("Whole picture", exact=True).click()
    expect(read).to_have_attribute("src", whole)
    assert set(asked) == {1}


# --- the whole way of a picture ------------------------------------------------------------------


def newest(studio: tuple, kind: str):
    """The gallery's row of the newest job of a kind, once that has ended."""

    def find_ended():
        (job, *_) = studio[0].jobs.list("local", kind=kind) or [None]
        return job if job is not None and job.ended else None

    (row, *_) = studio[0].gallery.of_job("local", wait_until(find_ended).id)
    return row


def pixels_of(studio: tuple, id: str) -> np.ndarray:
    with Image.open(studio[0].gallery.path("local", id)) as picture:
        return np.asarray(picture.convert("RGB"))


def reveal(page: Page, board: str, share: float) -> None:
    """Moves the slider between before and after as a hand does: by pointing at a place."""
    both = page.locator(f"{board} .versus .both")
    both.scroll_into_view_if_needed()
    box = both.bounding_box()
    page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    style = "element => parseFloat(element.style.getPropertyValue('--at'))"
    wait_until(lambda: abs(both.evaluate(style) - 100 * share) < 6)


@pytest.mark.deep
def test_a_picture_is_painted_repainted_compared_made_larger_and_found_in_the_gallery(
    visit, studio
):
    studio[0].store.write("DELETE FROM jobs")
    page = visit()
    choose(page, "#model", STARTER)
    page.fill("#prompt textarea", "a red mug on a wooden floor")
    put_number(page, "#steps", 4)
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text("a red mug on a wooden floor")
    painted = newest(studio, "text_to_image")
    assert (painted.width, painted.height) == (128, 128)

    page.click("#painted-change")
    expect(page.locator("#change-prompt textarea")).to_have_value("a red mug on a wooden floor")
    laid = studio[0].inputs.from_gallery("local", painted.id).id
    on_paper = "id => window.atelierDrawings?.['change-canvas']?.value() === id"
    page.wait_for_function(on_paper, arg=laid)
    page.locator("#change-canvas .mask-layer").wait_for()
    expect(page.locator("#change-about-model")).not_to_be_empty()
    expect(page.locator("#change-prompt textarea")).to_have_value("a red mug on a wooden floor")
    choose(page, "#change-model", STARTER)
    page.fill("#change-prompt textarea", "a green ball on a wooden floor")
    put_number(page, "#change-steps", 4)
    put_number(page, "#change-strength", 1)
    page.click("#change-mask [data-paints]")
    page.click("#change-mask [data-size='96']")
    mask = paint_mask(page, (0.3, 0.3), (0.7, 0.3), (0.7, 0.5), (0.3, 0.5))
    masked = masked_share(page)
    # Whoever looks at another tab meanwhile finds picture, mask and words as they were.
    open_tab(page, "Gallery")
    expect(page.locator(f"#gallery-pictures img[src*='{painted.id}']").first).to_be_visible()
    page.get_by_role("tab", name="From a picture").click()
    assert page.evaluate(MASK) == mask
    assert masked_share(page) == pytest.approx(masked, abs=0.01)
    assert page.evaluate(f"({on_paper})('{laid}')")
    expect(page.locator("#change-prompt textarea")).to_have_value("a green ball on a wooden floor")
    id, after = result_of(page, studio)
    asked = studio[0].gallery.get("local", id).request
    assert (asked["model"], asked["from_picture"]["mask"]) == ("starter", mask)
    changed = (after != pixels_of(studio, painted.id)).any(axis=-1)
    assert changed[40:60, 40:88].mean() > 0.9
    assert not changed[96:].any(), "what is far from the mask is as it was"

    reveal(page, "#change-panel", 0.25)
    reveal(page, "#change-panel", 0.75)
    before = page.locator("#change-panel .versus .map")
    assert before.evaluate("image => image.decode().then(() => image.naturalWidth)") == 128
    assert before.get_attribute("src").endswith(f"{laid}.png")

    page.click("#changed-larger")
    board = page.locator("#larger-panel")
    expect(board.locator(".versus")).to_be_visible()
    larger = newest(studio, "upscale")
    assert (larger.width, larger.height) == (256, 256)
    reveal(page, "#larger-panel", 0.25)
    assert "a green ball" in larger.parameters

    open_tab(page, "Gallery")
    shown = page.locator("#gallery-pictures .picture")
    for row in (painted.id, id, larger.id):
        expect(page.locator(f"#gallery-pictures img[src*='{row}']").first).to_be_visible()
    shown.first.click()
    expect(page.locator("#gallery-details")).to_contain_text("a green ball")
    expect(page.locator("#gallery-details img")).to_have_attribute(
        "src", f"pictures/{larger.id}.png"
    )
