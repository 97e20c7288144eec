"""What outlives a reload: the tab that is shown, and words that were typed and not sent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from studio.core.cleaning import KIND
from tests.browser.navigation import open_tab
from tests.patience import PATIENCE
from tests.studio.live import paint


def at(tab: str) -> re.Pattern:
    return re.compile(rf"/\?tab={tab}$")


def reload(page: Page) -> None:
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut


def test_the_tab_and_what_was_typed_outlive_a_reload_and_back_goes_to_the_tab_before(visit, studio):
    page = visit()
    page.fill("#prompt textarea", "typed and not sent")
    page.get_by_role("tab", name="Gallery").click()
    expect(page).to_have_url(at("gallery"))
    expect(page).to_have_title("Gallery · Atelier")
    page.get_by_role("tab", name="Chat").click()
    page.fill("#chat-text", "half a message")
    page.go_back()
    expect(page.locator("#gallery-search")).to_be_visible()
    page.go_back()
    expect(page.locator("#prompt")).to_be_visible()
    assert page.url == f"{studio[1]}/"
    page.go_forward()
    page.go_forward()
    expect(page).to_have_url(at("chat"))

    page.get_by_role("tab", name="Teach").click()
    expect(page.locator("#train-identifier input")).not_to_have_value("")
    page.fill("#train-called input", "Whiskers")
    page.get_by_role("button", name="Samples while it learns").click()
    page.fill("#train-sample-prompts textarea", "a [trigger] on the moon")
    open_tab(page, "Labs", "Look inside a LLaMA")
    page.fill("#inside-text textarea", "half a thought")
    page.get_by_role("tab", name="Chat").click()
    page.locator("#chat-settings summary").click()
    page.fill("#chat-system", "You are a pirate.")
    page.locator("#chat-system").blur()
    reload(page)
    expect(page.locator("#chat-text")).to_have_value("half a message")
    expect(page.locator("#chat-system")).to_have_value("You are a pirate.")
    expect(page.get_by_role("tab", name="Chat")).to_have_attribute("aria-selected", "true")
    open_tab(page, "Labs", "Look inside a LLaMA")
    expect(page.locator("#inside-text textarea")).to_have_value("half a thought")
    page.get_by_role("tab", name="Teach").click()
    expect(page.locator("#train-called input")).to_have_value("Whiskers")
    page.get_by_role("button", name="Samples while it learns").click()
    expect(page.locator("#train-sample-prompts textarea")).to_have_value("a [trigger] on the moon")
    page.get_by_role("tab", name="Text to image").click()
    expect(page.locator("#prompt textarea")).to_have_value("typed and not sent")


@pytest.mark.deep
def test_a_new_tab_of_the_browser_begins_with_what_was_typed_and_not_with_what_was_sent(
    visit, studio
):
    with httpx.Client(base_url=studio[1]) as client:
        paint(client, prompt="the newest picture")  # what a new page begins with
    page = visit()
    page.fill("#prompt textarea", "typed and not sent")
    other = visit()
    expect(other.locator("#prompt textarea")).to_have_value("typed and not sent")
    other.fill("#prompt textarea", "x" * 10_001)
    other.click("#paint")
    expect(other.locator("#paint-panel .error")).to_be_visible()
    newest = visit(path="?tab=nowhere&theme=x")  # a tab that there is not is the first one
    expect(newest.locator("#about-model")).not_to_be_empty()
    expect(newest.locator("#prompt textarea")).to_have_value("the newest picture")
    expect(newest).to_have_url(re.compile(r"/\?tab=paint&theme=x$"))


def test_a_group_s_name_leads_to_its_first_tab_and_back_to_the_tab_before(visit):
    page = visit(path="?tab=labs")
    expect(page.locator("#inside-text")).to_be_visible()
    expect(page).to_have_url(at("inside"))
    open_tab(page, "Shorten a LLaMA")
    expect(page.locator("#shorten-model")).to_be_visible()
    expect(page).to_have_url(at("shorten"))
    page.go_back()
    expect(page.locator("#inside-text")).to_be_visible()
    expect(page).to_have_url(at("inside"))


@pytest.mark.deep
def test_tabs_of_a_group_stand_in_the_address_and_old_names_lead_there(visit):
    page = visit(path="?tab=compare")
    expect(page.locator("#compare-prompt")).to_be_visible()
    expect(page).to_have_url(at("compare"))
    expect(page).to_have_title("Grid · Atelier")
    open_tab(page, "Labs")  # its first tab is shown, and stands in the address
    expect(page).to_have_url(at("inside"))
    open_tab(page, "Shorten a LLaMA")
    expect(page).to_have_url(at("shorten"))
    page.go_back()
    expect(page.locator("#inside-text")).to_be_visible()
    page.go_back()
    expect(page.locator("#compare-prompt")).to_be_visible()
    expect(page).to_have_url(at("compare"))
    page.go_forward()
    page.go_forward()
    expect(page.locator("#shorten-model")).to_be_visible()
    reload(page)
    expect(page.locator("#shorten-model")).to_be_visible()
    expect(page).to_have_url(at("shorten"))
    for name, shown, id in (
        ("labs", "#inside-text", "inside"),  # of a group: its first tab
        ("loras", "#library-cards", "library"),  # the tab's name before
        ("text-to-image", "#prompt", "paint"),
    ):
        page.goto(page.url.replace(page.url.rpartition("=")[2], name))
        expect(page.locator(shown)).to_be_visible()
        expect(page).to_have_url(at(id))
    page.problems.clear()


PADDING = """
(name) => {
  const element = document.createElement("div");
  element.className = name;
  document.querySelector(".gradio-container").append(element);
  const { padding } = getComputedStyle(element);
  element.remove();
  return padding;
}
"""


def test_cleaning_up_outlives_a_reload_and_can_be_cancelled(visit, studio, monkeypatch):
    go_on = threading.Event()

    def clean_up(dry_run: bool = False) -> Iterator[int]:
        yield 3_000_000
        assert dry_run or go_on.wait(PATIENCE)
        yield from (5_000_000, 2_000_000)

    monkeypatch.setattr(studio[0].jobs._chores.engine(KIND), "_clean_up", clean_up)
    page = visit(path="?tab=settings")
    expect(page.locator("#save-settings")).to_be_visible()
    # Our errors have a look of their own, and Gradio's messages keep theirs.
    assert page.evaluate(PADDING, "error") == "12px 15px"
    assert page.evaluate(PADDING, "toast-body error svelte-1") == "0px"
    expect(page.locator("#disk")).to_contain_text("Cleaning up would free")
    page.click("#clean-up")
    expect(page.locator("#cleaned")).to_contain_text("3.0 MB of 10 MB freed")
    reload(page)
    expect(page.locator("#cleaned")).to_contain_text("3.0 MB of 10 MB freed")
    page.click("#cancel-cleaning")
    expect(page.locator("#cancel-cleaning")).to_be_disabled()
    go_on.set()
    expect(page.locator("#cleaned")).to_contain_text("Cancelled. 8.0 MB freed before.")
    expect(page.locator("#cancel-cleaning")).to_be_hidden()
    expect(page.locator("#clean-up")).to_be_enabled()
