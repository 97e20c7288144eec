"""Sketch & depth, as a person uses it: with the mouse, with a file, from the gallery."""

from __future__ import annotations

import io
import re

import httpx
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from studio.core.gallery.metadata import read_settings
from tests.browser.test_painting import choose, put_number
from tests.patience import PATIENCE
from tests.studio.live import TINY, settings, wait_for

HOUSE = [(0.2, 0.9), (0.2, 0.5), (0.5, 0.2), (0.8, 0.5), (0.8, 0.9), (0.2, 0.9)]
DOOR = [(0.45, 0.9), (0.45, 0.65), (0.6, 0.65), (0.6, 0.9)]
PICTURE_ID = re.compile(r"pictures/([\w-]+)\.png")


def photo(size=(96, 64)) -> dict:
    """A file with a bright disc on a dark ground."""
    image = Image.new("RGB", size, (30, 40, 60))
    ImageDraw.Draw(image).ellipse((20, 10, 70, 54), (240, 200, 120))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"name": "disc.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


@pytest.fixture
def fresh_tab(visit, studio) -> Page:
    """The tab of somebody who has not used it yet, with the tiny model and two steps."""
    studio[0].store.write("DELETE FROM jobs WHERE kind = 'control'")
    page = visit(path="?tab=steer")
    expect(page.locator("#unit-1-fit > div > div").first).to_be_visible()
    choose(page, "#steer-model", TINY)
    expect(page.locator("#unit-1-model input")).to_have_value("tiny-net")
    page.fill("#steer-steps input[type=number]", "2")
    return page


def draw(page: Page, *lines: list[tuple[float, float]], unit: int = 1) -> None:
    canvas = page.locator(f"#unit-{unit}-canvas canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for line in lines:
        (x, y), *rest = [
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in line
        ]
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(x, y, steps=6)
        page.mouse.up()


def bring(page: Page, file: dict, unit: int = 1) -> None:
    page.locator(f"#unit-{unit}-canvas input[type=file]").set_input_files(file)


def map_of(page: Page, unit: int = 1) -> str:
    """The map that is shown, once there is one."""
    image = page.locator(f"#unit-{unit}-map .condition img")
    expect(image).to_be_visible()
    return image.get_attribute("src")


def paint(page: Page) -> str:
    """Presses Paint and waits; the id of the new picture."""
    before = page.locator("#steer-panel").inner_html()
    page.click("#steer")
    page.wait_for_function(
        """before => {
          const panel = document.querySelector('#steer-panel');
          return panel.querySelector('.versus') && !panel.querySelector('.progress')
            && panel.innerHTML !== before;
        }""",
        arg=before,
    )
    expect(page.locator("#steer-cancel")).to_be_hidden()
    html = page.locator("#steer-panel").inner_html()
    return PICTURE_ID.search(html)[1]


def test_a_house_drawn_with_the_mouse_becomes_a_picture_that_follows_it(fresh_tab, visit, studio):
    page = fresh_tab
    page.fill("#steer-prompt textarea", "a red house")
    draw(page, HOUSE, DOOR)
    id = paint(page)  # at once: the newest line counts, be it on its way or not
    map_of(page)
    followed = page.locator("#steer-panel .versus .map")
    assert followed.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    row = studio[0].gallery.get("local", id)
    followed = studio[0].inputs.open("local", row.request["units"][0]["picture"])
    assert followed.size == (512, 512)
    for x, y in ((0.2, 0.7), (0.8, 0.7), (0.5, 0.9), (0.45, 0.8)):  # walls, ground and door
        assert followed.getpixel((round(x * 512), round(y * 512))) == (0, 0, 0)
    assert followed.getpixel((256, 250)) == (255, 255, 255)
    parameters = read_settings(studio[0].gallery.path("local", id).read_bytes())
    assert parameters["ControlNet 0"].startswith("Module: scribble, Model: tiny-net")

    slider = page.locator("#steer-panel .versus input")
    slider.fill("10")
    both = page.locator("#steer-panel .versus .both")
    assert both.evaluate("both => both.style.getPropertyValue('--at')") == "10%"

    # The drawing outlives a reload, with what can be undone, and belongs to one tab of the browser.
    drawn, lines = value_of(page), ink(page)
    reload(page)
    assert (value_of(page), ink(page)) == (drawn, lines)
    expect(page.locator("#steer-prompt textarea")).to_have_value("a red house")
    expect(page.locator("#unit-1-canvas .canvas-hint")).to_be_hidden()
    expect(page.locator("#steer-panel .versus")).to_be_visible()
    for _ in (HOUSE, DOOR):
        page.click("#unit-1-canvas [data-do=undo]")
    assert ink(page) == 0
    page.click("#unit-1-canvas [data-do=redo]")

    # In a new one the newest request's drawing is there, and the gallery sends others.
    other = visit(path="?tab=gallery")
    other.locator(f"#gallery-pictures [data-id='{id}']").click()
    other.click("#gallery-steer")
    expect(other.locator("#unit-1-canvas canvas")).to_be_visible()
    sent = studio[0].inputs.from_gallery("local", id)  # it is there: the same one
    is_on_canvas = "id => window.atelierDrawings?.['unit-1-canvas']?.value() === id"
    other.wait_for_function(is_on_canvas, arg=sent.id)
    map_of(other)
    other.get_by_role("tab", name="Gallery").click()
    other.click("#gallery-use")
    expect(other.locator("#unit-1-canvas canvas")).to_be_visible()
    other.wait_for_function(is_on_canvas, arg=row.request["units"][0]["picture"])


@pytest.mark.deep
def test_a_file_is_read_by_a_preprocessor_and_followed(fresh_tab, studio):
    page = fresh_tab
    bring(page, photo())
    scribble = map_of(page)
    choose(page, "#unit-1-preprocessor", "Canny edges")
    page.click("#unit-1-reading > button")
    expect(page.locator("#unit-1-parameter-0")).to_contain_text("Low threshold")
    expect(page.locator("#unit-1-map img")).not_to_have_attribute("src", scribble)
    canny = map_of(page)
    page.click("#unit-1-more > button")
    page.get_by_label("Stretch").first.check()
    expect(page.locator("#unit-1-map img")).not_to_have_attribute("src", canny)
    unit = studio[0].gallery.get("local", paint(page)).request["units"][0]
    assert (unit["preprocessor"], unit["resize_mode"]) == ("canny", "stretch")
    assert unit["parameters"] == {"low": 100, "high": 200}
    assert studio[0].inputs.get("local", unit["picture"]).width == 96


@pytest.mark.deep
def test_the_depth_of_a_file_is_read_and_followed(fresh_tab, studio):
    page = fresh_tab
    bring(page, photo())
    scribble = map_of(page)
    choose(page, "#unit-1-preprocessor", "Depth (starter)")
    expect(page.locator("#unit-1-map img")).not_to_have_attribute("src", scribble)
    map_of(page)
    expect(page.locator("#unit-1-fit")).to_contain_text("Licence")
    row = studio[0].gallery.get("local", paint(page))
    job = studio[0].jobs.list("local", kind="control")[0]
    (unit,) = job.request["units"]
    assert unit["preprocessor"] == "depth"
    assert studio[0].inputs.get("local", unit["picture"]).width == 96
    assert row.request["units"] == [unit]


@pytest.mark.deep
def test_two_pictures_are_followed_at_once(fresh_tab, studio):
    page = fresh_tab
    draw(page, HOUSE)
    page.click("#unit-2 > button")
    page.locator("#unit-2-canvas canvas").wait_for()
    bring(page, photo(), unit=2)
    map_of(page, 2)
    page.get_by_label("T2I-Adapter").nth(1).check()
    expect(page.locator("#unit-2-model input")).to_have_value("tiny-adapter")
    page.fill("#unit-2-weight input[type=number]", "0.5")
    units = studio[0].gallery.get("local", paint(page)).request["units"]
    assert [unit["model"] for unit in units] == ["tiny-net", "tiny-adapter"]
    assert [unit["weight"] for unit in units] == [1.0, 0.5]
    page.click("#steer-panel .maps [data-map] >> nth=1")
    expect(page.locator("#steer-panel .versus .map")).to_have_attribute(
        "src", re.compile(r"condition/1\.png")
    )


@pytest.mark.deep
def test_undo_eraser_and_an_empty_canvas(fresh_tab):
    page = fresh_tab
    page.click("#steer")
    expect(page.locator("#steer-panel .error")).to_contain_text("nothing to follow yet")
    draw(page, HOUSE)
    first = map_of(page)
    draw(page, DOOR)
    expect(page.locator("#unit-1-map img")).not_to_have_attribute("src", first)
    page.click("#unit-1-canvas [data-do=undo]")
    expect(page.locator("#unit-1-map img")).to_have_attribute("src", first)
    page.click("#unit-1-canvas [data-size='24']")
    page.click("#unit-1-canvas [data-erases]")
    draw(page, HOUSE)
    expect(page.locator("#unit-1-map .error")).to_contain_text("Nothing is drawn")
    page.click("#unit-1-canvas [data-do=clear]")
    expect(page.locator("#unit-1-map .nothing")).to_be_visible()
    bring(page, {"name": "a.png", "mimeType": "image/png", "buffer": b"just words"})
    expect(page.locator("#unit-1-canvas .said")).to_contain_text("text file")
    page.problems.clear()  # the browser tells of the refused upload


def canvas_size(page: Page, unit: int = 1) -> list[int]:
    canvas = page.locator(f"#unit-{unit}-canvas canvas")
    return canvas.evaluate("canvas => [canvas.width, canvas.height]")


def set_size(page: Page, width: int, height: int) -> None:
    for name, value in (("width", width), ("height", height)):
        page.fill(f"#steer-{name} input[type=number]", str(value))
        page.locator(f"#steer-{name} input[type=number]").blur()


def wait_for_canvas(page: Page, width: int, height: int, unit: int = 1) -> None:
    page.wait_for_function(
        """([unit, width, height]) => {
          const canvas = document.querySelector(`#unit-${unit}-canvas canvas`);
          return canvas.width === width && canvas.height === height;
        }""",
        arg=[unit, width, height],
    )


@pytest.mark.deep
def test_an_empty_canvas_has_the_proportions_of_the_result_and_a_drawing_keeps_its_own(fresh_tab):
    page = fresh_tab
    assert canvas_size(page) == [512, 512]
    draw(page, HOUSE)
    expect(page.locator("#unit-1-map figcaption")).to_have_text("64 × 64")
    choose(page, "#steer-model", "Atelier starter (Toybox)")  # its size is folded away, and counts
    expect(page.locator("#unit-1-map figcaption")).to_have_text("128 × 128")
    page.click("#unit-1-canvas [data-do=clear]")
    page.click("#steer-advanced > button")
    set_size(page, 128, 64)
    wait_for_canvas(page, 512, 256)
    draw(page, HOUSE)
    wide = map_of(page)
    set_size(page, 64, 128)
    expect(page.locator("#unit-1-map img")).not_to_have_attribute("src", wide)
    assert canvas_size(page) == [512, 256]
    page.click("#unit-1-canvas [data-do=undo]")
    wait_for_canvas(page, 256, 512)
    page.click("#unit-1-canvas [data-do=redo]")
    wait_for_canvas(page, 512, 256)
    page.click("#unit-1-canvas [data-do=clear]")
    wait_for_canvas(page, 256, 512)
    page.click("#unit-2 > button")  # a canvas that was not there when the size changed
    page.locator("#unit-2-canvas canvas").wait_for()
    wait_for_canvas(page, 256, 512, unit=2)


@pytest.mark.deep
def test_the_size_is_taken_from_a_picture(fresh_tab):
    page = fresh_tab
    page.click("#unit-1-take-size")
    expect(page.locator("#unit-1-no-size")).to_contain_text("no picture to take the size from")
    bring(page, photo((192, 96)))
    map_of(page)
    expect(page.locator("#unit-1-map figcaption")).to_have_text("64 × 64")
    page.click("#unit-1-take-size")
    expect(page.locator("#unit-1-map figcaption")).to_have_text("128 × 64")
    expect(page.locator("#unit-1-no-size")).to_be_hidden()
    page.click("#unit-2 > button")
    page.locator("#unit-2-canvas canvas").wait_for()
    wait_for_canvas(page, 512, 256, unit=2)
    page.click("#steer-advanced > button")
    expect(page.locator("#steer-width input[type=number]")).to_have_value("128")
    expect(page.locator("#steer-height input[type=number]")).to_have_value("64")


@pytest.mark.deep
def test_cancel_stops_and_leaves_the_drawing(fresh_tab, rest_at):
    page = fresh_tab
    rest_at(5)
    draw(page, HOUSE)
    map_of(page)
    put_number(page, "#steer-steps", 20)
    page.click("#steer")
    expect(page.locator("#steer-panel .progress")).to_contain_text("Step")
    page.click("#steer-cancel")
    expect(page.locator("#steer-panel .summary")).to_contain_text("Cancelled")
    expect(page.locator("#unit-1-canvas .canvas-hint")).to_be_hidden()


@pytest.mark.deep
def test_a_request_is_restored_to_the_last_setting_be_it_folded_away_or_not(visit, studio):
    running, address = studio
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        picture = client.post("/api/v1/inputs", content=photo()["buffer"]).json()["id"]
        unit = {
            "picture": picture,
            "preprocessor": "canny",
            "parameters": {"low": 30, "high": 90},
            "resize_mode": "pad",
            "model": "tiny-net",
            "weight": 0.5,
            "start": 0.25,
            "end": 0.75,
            "control_mode": "prompt",
        }
        second = unit | {"preprocessor": "lineart", "parameters": {"width": 3.0, "threshold": 2}}
        asked = settings(units=[unit, second | {"model": "tiny-adapter"}], clip_skip=2, seed=5)
        answer = client.post("/api/v1/jobs/control", json=asked)
        assert wait_for(client, answer.json()["id"])["state"] == "done"
    page = visit()
    page.get_by_role("tab", name="Sketch & depth").click()
    map_of(page)
    again = running.gallery.get("local", paint(page)).request
    before = running.jobs.list("local", kind="control")[1].request
    assert again["units"] == before["units"]
    assert again["clip_skip"] == 2
    assert again["seed"] != 5  # it stays random


@pytest.mark.deep
def test_a_chinese_browser_gets_a_chinese_canvas(visit):
    page = visit(locale="zh-CN")
    page.get_by_role("tab", name="草图与深度").click()
    expect(page.locator("#unit-1-canvas [data-do=undo]")).to_have_attribute("title", "撤销")
    expect(page.locator("#unit-1-preprocessor")).to_contain_text("读作")
    choose(page, "#unit-1-preprocessor", "Canny 边缘")
    page.click("#unit-1-reading > button")
    expect(page.locator("#unit-1-parameter-0")).to_contain_text("低阈值")
    assert "i18n" not in page.inner_text("body")


# --- what a drawing outlives --------------------------------------------------------------------

INK = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
  .reduce((count, value, at) => count + (at % 4 === 0 && value < 128), 0)"""


def ink(page: Page) -> int:
    """How many pixels of the first canvas are dark."""
    return page.locator("#unit-1-canvas canvas").evaluate(INK)


def value_of(page: Page) -> str:
    return page.evaluate("window.atelierDrawings['unit-1-canvas'].value()")


def reload(page: Page) -> None:
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    map_of(page)


@pytest.mark.deep
def test_a_drawing_outlives_a_reload_and_belongs_to_one_tab_of_the_browser(fresh_tab, visit):
    page = fresh_tab
    draw(page, HOUSE)
    map_of(page)
    first, lines = value_of(page), ink(page)
    reload(page)
    assert (value_of(page), ink(page)) == (first, lines)
    page.click("#unit-1-canvas [data-do=undo]")
    assert ink(page) == 0
    page.click("#unit-1-canvas [data-do=redo]")
    other = visit(path="?tab=steer")
    other.locator("#unit-1-canvas canvas").wait_for()
    assert ink(other) == 0
    draw(other, DOOR)
    map_of(other)
    reload(page)
    assert (value_of(page), ink(page)) == (first, lines)


@pytest.mark.deep
def test_a_line_that_did_not_reach_the_studio_is_said_and_sent_again(fresh_tab, visit, studio):
    page = fresh_tab
    page.fill("#steer-prompt textarea", "a red house")
    draw(page, HOUSE)
    map_of(page)
    page.route("**/api/v1/inputs*", lambda route: route.abort())
    draw(page, DOOR)
    expect(page.locator("#unit-1-canvas .error")).to_contain_text("cannot be reached")
    page.click("#steer")
    expect(page.locator("#steer-panel .error")).to_contain_text("newest lines of your drawing")
    page.unroute("**/api/v1/inputs*")
    page.problems.clear()  # the browser's own word of the uploads that failed
    followed = studio[0].gallery.get("local", paint(page)).request["units"][0]["picture"]
    picture = studio[0].inputs.open("local", followed)
    assert picture.getpixel((round(0.45 * 512), round(0.8 * 512))) == (0, 0, 0)
    expect(page.locator("#unit-1-canvas .error")).to_be_hidden()

    # On a new page, the canvas that is cleared while that picture comes stays empty.
    page = visit()
    on_their_way = []
    page.route("**/api/v1/inputs/*.png", lambda route: on_their_way.append(route))
    page.get_by_role("tab", name="Sketch & depth").click()
    page.wait_for_function("window.atelierDrawings?.['unit-1-canvas'].value()")
    assert ink(page) == 0
    page.click("#unit-1-canvas [data-do=clear]")
    for route in on_their_way:
        route.continue_()
    page.evaluate(  # the same picture once more, which comes after it
        "at => new Promise(done => Object.assign(new Image(), {onload: done, src: at}))",
        f"{on_their_way[-1].request.url}?again",
    )
    assert ink(page) == 0
    assert value_of(page) == ""


@pytest.mark.deep
def test_ink_follows_the_first_finger_and_two_fingers_scroll(visit, studio):
    studio[0].store.write("DELETE FROM jobs WHERE kind = 'control'")  # the canvas begins empty
    page = visit(viewport={"width": 390, "height": 500}, has_touch=True, path="?tab=steer")
    canvas = page.locator("#unit-1-canvas canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_function("window.atelierDrawings?.['unit-1-canvas']")
    assert ink(page) == 0
    touches = page.context.new_cdp_session(page)

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        box = canvas.bounding_box()
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": id}
            for id, (x, y) in enumerate(fingers)
        ]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.2, 0.3))
    touch("touchMove", (0.4, 0.3))
    touch("touchStart", (0.4, 0.3), (0.9, 0.9))  # a palm
    touch("touchMove", (0.7, 0.3), (0.9, 0.9))
    touch("touchEnd")
    drawn = ink(page)
    assert drawn > 0
    dark = """canvas => [0.3, 0.9].map(y => canvas.getContext("2d")
      .getImageData(0, y * canvas.height - 8, canvas.width, 16).data
      .some((value, at) => at % 4 === 0 && value < 128))"""
    assert canvas.evaluate(dark) == [True, False]

    before = page.evaluate("scrollY")
    touch("touchStart", (0.3, 0.8))
    touch("touchStart", (0.3, 0.8), (0.6, 0.8))
    for step in range(1, 8):
        touch("touchMove", (0.3, 0.8 - 0.05 * step), (0.6, 0.8 - 0.05 * step))
    touch("touchEnd")
    page.wait_for_function("before => scrollY > before", arg=before)
    assert ink(page) == drawn

    canvas.scroll_into_view_if_needed()
    touch("touchStart", (0.5, 0.1))
    assert ink(page) > drawn
    touch("touchCancel")  # the system takes the finger: a tap was not meant
    assert ink(page) == drawn
