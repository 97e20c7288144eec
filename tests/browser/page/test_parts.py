"""What a tab needs is fetched and built when it is opened, or when something is sent to it."""

from __future__ import annotations

import contextlib
import json

import httpx
import pytest
from playwright.sync_api import Page, expect

from studio.core.services import Options
from studio.page import parts
from tests.browser.navigation import each_tab, open_tab
from tests.patience import wait_until
from tests.studio.live import live_studio, options_for, paint


def list_fetched(page: Page) -> list[str]:
    """The tabs that the page has asked for."""
    urls = page.evaluate("performance.getEntriesByType('resource').map((each) => each.name)")
    return [url.split("/tabs/")[1].removesuffix(".json") for url in urls if "/tabs/" in url]


def test_tabs_are_built_when_they_are_opened_or_sent_something(visit, studio):
    with httpx.Client(base_url=studio[1]) as client:
        for prompt in ("an older picture", "the newest picture"):  # which fills the first tab in
            paint(client, prompt=prompt, steps=3)
    page = visit(path="?tab=gallery")
    page.locator("#gallery-pictures .picture").nth(1).click()
    expect(page.locator("#gallery-details .prompt")).to_have_text("an older picture")
    assert list_fetched(page) == ["gallery"]
    assert page.locator("#prompt").count() == 0
    page.click("#gallery-use")  # into the tab that came along, and waited
    expect(page.locator("#paint-panel .picture")).to_be_visible()  # when it was filled in, before
    expect(page.locator("#prompt textarea")).to_have_value("an older picture")
    open_tab(page, "Gallery")
    page.click("#gallery-compare")  # into a tab that was never there
    expect(page.locator("#compare-prompt textarea")).to_have_value("an older picture")
    # Tabs with maps are fetched as well: what is sent may be a picture whose map is to be made.
    fetched = {"gallery", "compare", "steer", "from-picture"}
    assert {"gallery", "compare"} <= {*list_fetched(page)} <= fetched


def test_a_tab_that_is_sent_something_is_shown_while_it_is_still_being_fetched(visit, studio):
    with httpx.Client(base_url=studio[1]) as client:
        paint(client, prompt="a late tab")
    page = visit(path="?tab=gallery")
    page.locator("#gallery-pictures .picture").first.click()
    expect(page.locator("#gallery-details .prompt")).to_have_text("a late tab")
    held = []
    page.route("**/tabs/compare.json", lambda route: held.append(route))
    page.click("#gallery-compare")
    expect(page.get_by_role("tab", name="Grid")).to_have_attribute("aria-selected", "true")
    assert page.locator("#compare-prompt").count() == 0
    wait_until(lambda: page.title() and held)  # which lets the browser speak
    held[0].continue_()
    expect(page.locator("#compare-prompt textarea")).to_have_value("a late tab")


@pytest.mark.deep
def test_what_is_changed_while_a_tab_is_filled_stays_as_it_was_made(visit, studio):
    studio[0].store.write("DELETE FROM jobs WHERE kind = 'from_picture'")
    page, held = visit(), []
    page.route("**/queue/join**", lambda route: held.append(route))  # answers come late
    page.get_by_role("tab", name="From a picture").click()
    steps = page.locator("#change-steps input[type=number]")
    steps.fill("7")
    steps.blur()
    page.fill("#change-prompt textarea", "typed early")
    assert held
    for route in held:
        route.continue_()
    page.unroute("**/queue/join**")
    expect(page.locator("#change-about-model")).not_to_be_empty()
    expect(page.locator("#change-curves svg")).to_be_visible()
    expect(page.locator("#change-strength input[type=number]")).to_have_value("0.75")
    expect(steps).to_have_value("7")
    expect(page.locator("#change-prompt textarea")).to_have_value("typed early")


def test_a_tab_that_cannot_be_fetched_says_so_and_is_tried_again(visit):
    page = visit()
    page.route("**/tabs/chat.json", lambda route: route.abort())
    open_tab(page, "Chat")
    words = page.locator(".unreachable")
    expect(words).to_contain_text("The studio did not answer, so this tab cannot be shown.")
    open_tab(page, "Text to image")
    open_tab(page, "Chat")
    expect(words).to_have_count(1)
    page.unroute("**/tabs/chat.json")
    words.get_by_role("button", name="Try again").click()
    expect(page.locator("#chat-text")).to_be_visible()
    expect(words).to_have_count(0)
    page.problems.clear()  # the browser complains of the address that did not answer


# Names of the controls that a tab shows, and whether they can be used.
CONTROLS = """() => [...document.querySelectorAll("[role=tabpanel] :is(input, textarea, button)")]
  .filter((each) => each.checkVisibility())
  .map((each) => [
    each.closest("[id]:not([id^=html-])")?.id, each.type, each.disabled || each.readOnly === true,
  ])"""


@pytest.mark.deep
def test_tabs_that_come_later_have_the_controls_that_they_have_in_a_whole_page(
    tmp_path, twin_home, control_folder, browser, monkeypatch
):
    def options(name: str) -> Options:
        return options_for(tmp_path / name, twin_home, control_folder)

    with contextlib.ExitStack() as stack:
        addresses = [stack.enter_context(live_studio(options("in parts")))[1]]
        monkeypatch.setattr(parts, "can_graft", lambda: False)
        addresses.append(stack.enter_context(live_studio(options("whole")))[1])
        later, whole = (stack.enter_context(browser.new_page()) for _ in addresses)
        for page, address in zip((later, whole), addresses, strict=True):
            page.goto(address)
            page.locator("#paint").wait_for()
        count = 0
        for tab, same in zip(each_tab(later), each_tab(whole), strict=True):
            assert tab == same
            wait_until(lambda: controls(later) == controls(whole))  # what is filled in late too
            count += len(controls(whole))
        assert count > 200
        assert list_fetched(whole) == []


def controls(page: Page) -> list[str]:
    return sorted(map(json.dumps, page.evaluate(CONTROLS)))
