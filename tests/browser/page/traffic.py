"""Waiting until nothing of the page is on its way: no answer that a test would overtake."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, Page

from tests.patience import PATIENCE, wait_until

# Events that were sent and are not answered yet (Gradio's client listens to ``queue/data`` while
# there are any), files on their way, and tabs that are being fetched.
WAITED_FOR = re.compile(r"/(gradio_api/(queue|run|call|upload)|tabs)\b")
UNANSWERED = 20.0  # seconds
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def be_patient(browser: Browser) -> None:
    """All pages of ``browser`` wait as long as tests do, and :func:`wait_until_settled` takes them.

    Playwright gives up after 30 s by itself.
    """

    def patient(make: Callable[..., Any]) -> Callable[..., Any]:
        def make_page(**options: Any) -> Any:
            context = page = make(**options)
            if isinstance(page, Page):
                context = page.context
                _watch(page)
            context.set_default_timeout(1000 * PATIENCE)
            context.on("page", _watch)
            return page

        return make_page

    browser.new_context, browser.new_page = patient(browser.new_context), patient(browser.new_page)


def _watch(page: Page) -> None:
    """``page.on_their_way`` and ``page.sent``: requests that a test may wait for."""
    page.on_their_way, page.sent = set(), 0

    def note(request) -> None:
        if WAITED_FOR.search(request.url):
            page.on_their_way.add(request)
            page.sent += 1

    def forget(request) -> None:
        page.on_their_way.discard(request)

    page.on("request", note)
    page.on("requestfinished", forget)
    page.on("requestfailed", forget)
    page.on("domcontentloaded", lambda _: page.on_their_way.clear())  # another page by now


def wait_until_settled(page: Page) -> None:
    """Waits until all that was asked for is answered, shown, and has led to nothing more.

    A page may watch a job that runs on: what is unanswered for long while nothing else is asked is
    waited for no more.
    """
    asked, since = page.sent, time.monotonic()

    def rests() -> bool:
        nonlocal asked, since
        before = page.sent
        page.evaluate(TWO_FRAMES)
        if page.sent != asked:
            asked, since = page.sent, time.monotonic()
        is_quiet = not page.on_their_way or time.monotonic() - since > UNANSWERED
        return is_quiet and page.sent == before

    wait_until(rests)
