"""The gallery and the drop zone, as a person uses them."""

from __future__ import annotations

import io
import time
import zipfile

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, Route, expect

from tests.pipelines.core.test_uploads import png_header

SEARCH = "#gallery-search input, #gallery-search textarea"
PARAMETERS = """a castle at night, <img src=x onerror=alert(1)>
Negative prompt: fog
Steps: 31, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 4321, Size: 96x64, Model: elsewhere"""


@pytest.fixture
def gallery(visit) -> Page:
    page = visit(path="?tab=gallery")
    expect(page.locator("#gallery-pictures .picture").first).to_be_visible()
    return page


def png(parameters: str | None) -> dict:
    info = PngInfo()
    if parameters:
        info.add_text("parameters", parameters)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG", pnginfo=info)
    return {"name": "dropped.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def drop(page: Page, file: dict) -> None:
    page.locator("#drop-zone input[type=file]").set_input_files(file)


FILES_WITHOUT_SETTINGS = [
    (png(None), "No settings were found"),
    ({"name": "a.png", "mimeType": "image/png", "buffer": b"just words"}, "text file"),
    ({"name": "a.svg", "mimeType": "image/svg+xml", "buffer": b"<svg></svg>"}, "SVG"),
    ({"name": "a.png", "mimeType": "image/png", "buffer": png(None)["buffer"][:40]}, "damaged"),
    (
        {"name": "a.png", "mimeType": "image/png", "buffer": png_header(30_000, 30_000)},
        "30000 × 30000",
    ),
]


def test_chosen_and_dropped_pictures_show_their_settings_and_fill_the_form(gallery):
    # Tests before this one may have painted more than the tab shows at first.
    gallery.fill(SEARCH, "a first picture")
    expect(gallery.locator("#gallery-pictures .picture")).to_have_count(1)
    gallery.locator("#gallery-pictures .picture").click()
    expect(gallery.locator("#gallery-details .prompt")).to_have_text("a first picture")
    gallery.click("#gallery-use")
    expect(gallery.locator("#paint")).to_be_visible()
    expect(gallery.locator("#prompt textarea")).to_have_value("a first picture")
    expect(gallery.locator("#seed input")).to_have_value("1")

    gallery.get_by_role("tab", name="Gallery").click()
    for file, sentence in FILES_WITHOUT_SETTINGS:
        drop(gallery, file)
        expect(gallery.locator("#drop-error")).to_contain_text(sentence)
    drop(gallery, png(PARAMETERS))
    expect(gallery.locator("#dropped-details .prompt")).to_contain_text("<img src=x onerror")
    gallery.click("#dropped-use")
    expect(gallery.locator("#paint")).to_be_visible()
    expect(gallery.locator("#steps input[type=number]")).to_have_value("31")
    expect(gallery.locator("#seed input")).to_have_value("4321")
    expect(gallery.locator("#sampler input")).to_have_value("DPM++ 2M")
    expect(gallery.locator("#schedule input")).to_have_value("Karras")
    expect(gallery.locator("#guidance input[type=number]")).to_have_value("6.5")


@pytest.mark.deep
def test_a_search_without_matches_says_what_to_do(gallery):
    gallery.fill(SEARCH, "no such words")
    expect(gallery.locator("#gallery-pictures")).to_contain_text("clear the search")


@pytest.mark.deep
def test_a_picture_is_deleted_only_after_a_second_yes(gallery):
    pictures = gallery.locator("#gallery-pictures .picture")
    gallery.fill(SEARCH, "a first picture")
    expect(pictures).to_have_count(1)
    pictures.first.click()
    gallery.click("#delete")
    expect(gallery.locator("#delete-for-good")).to_be_visible()
    held: list[Route] = []
    # The server does not answer meanwhile.
    gallery.route("**/queue/join*", lambda route: held.append(route))
    gallery.click("text=Keep")
    expect(gallery.locator("#delete-for-good")).to_be_hidden()
    gallery.unroute("**/queue/join*")
    for route in held:
        route.continue_()
    expect(pictures).to_have_count(1)


def test_a_day_is_gone_to_and_several_pictures_are_downloaded_and_deleted(visit, studio):
    running, _ = studio
    fields = {"prompt": "of long ago", "steps": 2, "sampler": "Euler", "seed": 7}
    image = Image.new("RGB", (64, 64), "red")
    for at in range(30):
        row = running.gallery.save("local", "long ago", at, "text_to_image", image, fields)
        moment = time.mktime((2001, 2, 1 + at // 10, 12, 0, 0, 0, 0, -1))
        running.store.write("UPDATE pictures SET created = ? WHERE id = ?", (moment, row.id))
    page = visit(path="?tab=gallery")
    tools, pictures = page.locator("#gallery-tools"), page.locator("#gallery-pictures .picture")
    days = page.locator("#gallery-pictures .day")
    expect(pictures.first).to_be_visible()
    tools.locator("input[type=date]").fill("2001-02-02")
    expect(days).to_have_text(["2001-02-02", "2001-02-01"])
    tools.get_by_role("button", name="The oldest").click()
    expect(days).to_have_text(["2001-02-01"])
    expect(pictures).to_have_count(10)

    tools.get_by_role("button", name="Choose several").click()
    pictures.nth(1).click()
    pictures.nth(4).click(modifiers=["Shift"])
    pictures.nth(2).click()
    expect(tools.locator(".count")).to_have_text("3 pictures chosen")
    expect(page.locator("#gallery-details .prompt")).to_have_count(0)
    with page.expect_download() as download:
        tools.get_by_role("button", name="Download").click()
    with zipfile.ZipFile(download.value.path()) as whole:
        assert len(whole.namelist()) == 3
    tools.get_by_role("button", name="Delete", exact=True).click()
    tools.get_by_role("button", name="Keep").click()
    expect(pictures).to_have_count(10)
    tools.get_by_role("button", name="Delete", exact=True).click()
    tools.get_by_role("button", name="Delete for good").click()
    expect(pictures).to_have_count(7)
    expect(tools.locator(".count")).to_have_text("0 pictures chosen")

    page.fill(SEARCH, "of long ago")
    tools.get_by_role("button", name="Back to the newest").click()
    expect(days).to_have_text(["2001-02-03", "2001-02-02", "2001-02-01"])
    tools.get_by_role("button", name="All that are found").click()
    expect(tools.locator(".count")).to_have_text("27 pictures chosen")
    tools.get_by_role("button", name="Delete", exact=True).click()
    tools.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#gallery-pictures")).to_contain_text("No prompt has these words")
    tools.get_by_role("button", name="Choose several").click()
    page.fill(SEARCH, "")
    pictures.first.click()
    expect(page.locator("#gallery-details .prompt")).to_be_visible()
