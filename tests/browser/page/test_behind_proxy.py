"""The page behind a real nginx, as people set it up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import USUAL
from tests.browser.navigation import each_tab
from tests.browser.test_painting import fill_in
from tests.studio.live import live_studio, options_for
from tests.studio.nginx import nginx, readme_recipe

pytestmark = pytest.mark.nginx


@pytest.fixture
def page(browser) -> Iterator[Page]:
    context = browser.new_context(**USUAL)
    page = context.new_page()
    yield page
    context.close()


def paint(page: Page, prompt: str) -> None:
    fill_in(page, prompt)
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text(prompt)


def large_picture(folder):
    """A file beyond nginx's own limit of 1 MB."""
    pixels = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "large.png")
    assert (folder / "large.png").stat().st_size > 1_000_000
    return folder / "large.png"


def test_page_below_an_untold_path_paints_and_says_what_is_missing_and_who_refuses(
    page, studio, tmp_path
):
    """As Gradio's guide sets nginx up, at a port that is not 80, without ``--root-path``."""
    with nginx(tmp_path / "nginx", studio[1], "/atelier/") as address:
        page.goto(f"{address}/")
        page.locator("#paint").wait_for()
        note = page.locator(".proxy-note")
        expect(note).to_contain_text("Start the studio with --root-path /atelier")
        paint(page, "a mug behind a proxy")
        page.get_by_role("tab", name="Sketch & depth").click()
        page.locator("input[type=file][accept*=image]").first.set_input_files(
            large_picture(tmp_path)
        )
        expect(
            page.get_by_text("refused this upload as too large (HTTP 413)").first
        ).to_be_visible()


@pytest.mark.deep
def test_page_below_a_path_asks_for_nothing_elsewhere_by_the_readme_s_recipe(
    page, twin_home, tmp_path
):
    options = options_for(tmp_path / "home", twin_home, root_path="/atelier")
    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: said.type == "error" and problems.append(said.text))
    with (
        live_studio(options) as (_, studio),
        nginx(tmp_path / "nginx", studio, "/atelier/", readme_recipe()) as address,
    ):
        page.goto(f"{address}/")
        page.locator("#paint").wait_for()
        paint(page, "a mug behind a proxy")
        assert len([*each_tab(page)]) > 10
        page.get_by_role("tab", name="Gallery").click()
        expect(page.locator("#gallery-pictures img").first).to_be_visible()
        files = page.locator("input[type=file]:visible, input[type=file]").last
        # One that is still on its way when the studio closes is answered by an error.
        with page.expect_response(lambda answer: "/gradio_api/upload" in answer.url) as sent:
            files.set_input_files(large_picture(tmp_path))
        assert sent.value.ok
        assert page.locator(".proxy-note").count() == 0
    own = (f"{address}/", "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert problems == []


@pytest.mark.deep
def test_page_whose_address_a_proxy_changes_says_why_nothing_happens(page, studio, tmp_path):
    changed = """
    set $origin "";
    if ($request_method = POST) { set $origin http://studio.example; }
    proxy_set_header Origin $origin;
    proxy_set_header Sec-Fetch-Site "";
    """
    with nginx(tmp_path / "nginx", studio[1], headers=changed) as address:
        page.goto(f"{address}/")
        note = page.locator(".proxy-note")
        expect(note).to_contain_text("this one is of a page at http://studio.example")
        expect(note).to_contain_text("proxy_set_header Host $http_host")
        expect(note).to_have_count(1)
