"""LoRAs in the tabs that paint: chosen in their rows, and found again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_painting import fill_in
from tests.pipelines.diffusion.lora import files
from tests.studio.live import TINY


@pytest.fixture(scope="module")
def clay(studio, twin_home, tmp_path_factory) -> Iterator[str]:
    """The name of a LoRA in the library."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(twin_home / "models" / TINY)
    file = tmp_path_factory.mktemp("clay") / "clay.safetensors"
    file.write_bytes(files.kohya(files.random_halves(pipe, size=0.3), 2.0, {}))
    record = studio[0].loras.bring("local", "clay", file)
    yield record.name
    studio[0].loras.delete("local", record.id)


def choose_lora(page: Page, row: str, name: str) -> None:
    page.click(f"{row} input")
    page.locator(row).get_by_role("option").filter(has_text=name).click()


def test_a_lora_from_the_picker_is_in_the_picture_and_found_again_after_a_refresh(visit, clay):
    page = visit()
    fill_in(page, "a red mug")
    page.fill("#seed input", "7")
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text("a red mug")
    plain = page.locator("#paint-panel .picture img").first.get_attribute("src")
    page.click("#loras > button")
    expect(page.locator("#lora-2")).to_be_hidden()
    choose_lora(page, "#lora-1", clay)
    expect(page.locator("#lora-2")).to_be_visible()
    page.fill("#lora-weight-1 input[type=number]", "0.5")
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_have_text("a red mug <lora:clay:0.5>")
    assert page.locator("#paint-panel .picture img").first.get_attribute("src") != plain
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(page.locator("#lora-1 input")).to_have_value("clay · U-Net 32")
    expect(page.locator("#lora-weight-1 input[type=number]")).to_have_value("0.5")


@pytest.mark.deep
def test_settings_of_a_picture_that_names_its_loras_itself_leave_the_rows_empty(visit, clay):
    page = visit()
    fill_in(page, f"a red mug <lora:{clay}:0.3>")
    page.click("#paint")
    expect(page.locator("#painted-details .prompt")).to_contain_text("<lora:clay:0.3>")
    page.click("#painted-use")
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(page.locator("#prompt textarea")).to_have_value("a red mug <lora:clay:0.3>")
    expect(page.locator("#lora-1")).to_be_hidden()


@pytest.mark.deep
def test_samplers_are_compared_with_a_lora(visit, clay):
    page = visit()
    page.get_by_role("tab", name="Grid").click()
    expect(page.locator("#compare-about-model")).not_to_be_empty()
    page.fill("#compare-prompt textarea", "a mug with clay")
    choose_lora(page, "#compare-model", TINY)
    page.locator("#compare-x-values").locator("textarea, input").first.fill("8")
    page.click("#compare-loras > button")
    choose_lora(page, "#compare-lora-1", clay)
    page.click("#compare")
    expect(page.locator("#compare-panel .sheet img")).to_be_visible()
    page.locator("#compare-panel .picture").first.click()
    expect(page.locator("#compare-details .prompt")).to_have_text("a mug with clay <lora:clay:1>")
