"""The page comes to rest: what follows quick changes is asked for once more, not for ever."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.teaching import open_teach_tab as teaching
from tests.patience import wait_until

WINDOW = 2000  # ms
MOST = 3  # requests in a window: the header looks at the machine now and then


def comes_to_rest(page: Page) -> None:
    """Waits until the page asks for next to nothing, which a loop never does."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def rests() -> bool:
        asked.clear()
        page.wait_for_timeout(WINDOW)
        return len(asked) <= MOST

    wait_until(rests)


def quickly(page: Page, selector: str, *values: str) -> None:
    """Type other values before anything has followed the first one."""
    for value in values:
        page.evaluate(
            """([selector, value]) => {
              const control = document.querySelector(selector);
              control.value = value;
              control.dispatchEvent(new Event('input', { bubbles: true }));
              control.dispatchEvent(new Event('change', { bubbles: true }));
            }""",
            [selector, value],
        )
        page.wait_for_timeout(30)


@pytest.fixture
def slow_answers(studio, monkeypatch):
    """Answers take longer than the next change does to come."""
    running = studio[0]
    for service, name in ((running.conditions, "map"), (running.trainings, "preflight")):
        found = getattr(service, name)

        def slowly(*given, found=found, **named):
            time.sleep(0.3)
            return found(*given, **named)

        monkeypatch.setattr(service, name, slowly)


def test_the_sketch_tab_after_another_size(visit, slow_answers):
    page = visit()
    page.get_by_role("tab", name="Sketch & depth").click()
    expect(page.locator("#unit-1-fit > div > div").first).to_be_visible()
    page.click("#steer-advanced > button")
    page.locator("#steer-width input[type=number]").wait_for()
    quickly(page, "#steer-width input[type=number]", "128", "64", "128", "64")
    comes_to_rest(page)


@pytest.mark.deep
def test_the_teach_tab_after_another_method_and_word(visit, slow_answers):
    page = teaching(visit)
    for name in ("Full", "Textual inversion", "LoRA"):
        page.click("#train-method input")
        page.get_by_role("option", name=name, exact=True).click()
    quickly(page, "#train-class-word input", "cat", "mug", "toy", "cat")
    comes_to_rest(page)
