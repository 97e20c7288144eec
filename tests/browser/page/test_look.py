"""Language, width and the parts that are always there."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from studio.core.accounts.accounts import NotLoggedIn

TABS = (
    *("Text to image", "From a picture", "Chat", "Sketch & depth", "Teach", "Library"),
    *("Clustering", "Labs", "Gallery", "Settings"),
)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.mark.parametrize(
    "locale",
    ["zh-CN", *(pytest.param(each, marks=pytest.mark.deep) for each in ("zh-HK", "zh-TW", "zh"))],
)
def test_a_chinese_browser_gets_a_chinese_page(visit, locale):
    page = visit(locale=locale)
    expect(page.locator("#paint")).to_have_text("作画")
    expect(page.get_by_role("tab", name="图库")).to_be_visible()
    expect(page.locator("#header")).to_contain_text("设备")
    page.fill("#prompt textarea", "x" * 10_001)
    page.click("#paint")
    expect(page.locator("#paint-panel .error")).to_contain_text("提示词")


@pytest.mark.deep
def test_other_browsers_get_an_english_page(visit):
    page = visit(locale="fr-FR")
    expect(page.locator("#paint")).to_have_text("Paint")
    expect(page.locator("#header")).to_contain_text("Device")


@pytest.mark.deep
def test_a_phone_never_scrolls_sideways_light_or_dark(visit):
    page = visit(**PHONE)
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        assert widths(page) == [390, 390], tab


def widths(page: Page) -> list[int]:
    """Of all that there is, in CSS pixels, when the phone is light and when it is dark."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
        found.append(page.evaluate("document.documentElement.scrollWidth"))
    return found


@pytest.mark.deep
def test_on_a_phone_the_result_comes_right_below_the_button(visit):
    page = visit(**PHONE)
    button, panel, model = (
        page.locator(name).bounding_box() for name in ("#paint", "#paint-panel", "#model")
    )
    assert button["y"] < panel["y"] < model["y"]


@pytest.mark.deep
def test_dark_browsers_get_a_dark_page(visit):
    page = visit(color_scheme="dark")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 60


@pytest.mark.deep
def test_what_the_host_changes_is_kept(visit, studio):
    page = visit()
    page.get_by_role("tab", name="Settings").click()
    # Opening the tab fills the fields in; what is typed before would be written over.
    expect(page.locator("#disk")).to_contain_text("Cleaning up would free")
    page.fill("#queue-limit input", "0")
    page.click("#save-settings")
    expect(page.locator("#settings-said .error")).to_contain_text("must be at least 1")
    page.fill("#queue-limit input", "19")
    page.click("#save-settings")
    expect(page.locator("#settings-said")).to_contain_text("Saved")
    assert studio[0].settings.current.queue_limit == 19


@pytest.mark.deep
def test_host_makes_and_revokes_a_key(visit, studio):
    page = visit()
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("#disk")).to_contain_text("Cleaning up would free")
    page.fill("#key-name textarea, #key-name input", "Editor")
    page.click("#make-key")
    expect(page.locator("#key-said")).to_contain_text("sk-atelier-")
    token = page.locator("#key-said").inner_text().split()[-1]
    key = studio[0].keys.owner_of_key(token)
    assert (key.name, key.requests_per_minute, key.tokens_per_minute) == ("Editor", None, None)
    page.click("#valid-keys input")
    page.get_by_role("option", name="Editor").click()
    page.click("#revoke-key")
    expect(page.locator("#key-said")).to_contain_text("is revoked")
    with pytest.raises(NotLoggedIn):
        studio[0].keys.owner_of_key(token)


@pytest.mark.deep
def test_a_broken_own_sampler_is_shown_to_the_host_and_not_offered(visit):
    page = visit()
    page.click("#sampler input")
    offered = page.locator("#sampler").get_by_role("option")
    expect(offered.filter(has_text="Euler").first).to_be_visible()
    expect(offered.filter(has_text="Unfinished")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Grid").click()
    expect(page.locator("#compare-about-model")).not_to_be_empty()
    page.click("#compare-sampler input")
    offered = page.locator("#compare-sampler").get_by_role("option")
    expect(offered.filter(has_text="DDIM")).to_be_visible()
    expect(offered.filter(has_text="Unfinished")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("#left-out")).to_contain_text("unfinished.py is left out")
    expect(page.locator("#left-out")).to_contain_text("No module named 'nowhere'")
