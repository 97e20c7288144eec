"""The library, as a person keeps it: bringing in, renaming, handing out, deleting, merging."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.page.test_look import PHONE
from tests.pipelines.diffusion.lora import files
from tests.studio.live import TINY

SHARED = "shared-ink"


@pytest.fixture(scope="module")
def halves(twin_home) -> dict:
    """A LoRA for the tiny model, not yet in the style of any tool."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(twin_home / "models" / TINY)
    return files.random_halves(pipe)


@pytest.fixture(scope="module")
def data(halves) -> bytes:
    return files.kohya(halves, 2.0, {"modelspec.trigger_phrase": "sks"})


@pytest.fixture(autouse=True)
def tidy_up(studio) -> Iterator[None]:
    """What a test has put in the library is gone after it."""
    yield
    running, _ = studio
    for record in running.library.own("local"):
        running.library.delete("local", record.id)
    for path in (running.home / "loras").glob("*.safetensors"):
        path.unlink()


@pytest.fixture
def page(visit) -> Page:
    return open_library(visit(path="?tab=library"))


def open_library(page: Page) -> Page:
    page.get_by_role("tab", name="Library").click()
    page.locator("#library-cards .library-entries").wait_for()
    return page


def bring(page: Page, data: bytes, name: str = "clay") -> None:
    file = {"name": f"{name}.safetensors", "mimeType": "application/octet-stream", "buffer": data}
    page.set_input_files("#library-files input[type=file]", [file])
    expect(page.locator("#library-notices .hint, #library-notices .error")).to_have_count(1)
    expect(page.locator("#library-notices")).not_to_contain_text("Reading")


def put(studio, tmp_path, data: bytes, *names: str) -> None:
    """Straight into the library."""
    for name in names:
        studio[0].loras.bring("local", name, files.write_file(tmp_path, data))


def card(page: Page, name: str) -> Locator:
    return page.locator(".entry").filter(has=page.get_by_text(name, exact=True))


def choose(page: Page, control: str, text: str) -> None:
    page.click(f"{control} input")
    page.get_by_role("option").filter(has_text=text).click()
    expect(page.get_by_role("option")).to_have_count(0)


def test_a_lora_is_brought_in_renamed_handed_out_and_deleted(page, studio, halves, data):
    expect(page.locator("#library-cards")).to_contain_text("The library is empty")
    bring(page, data)
    expect(page.locator("#library-notices")).to_contain_text("clay is in the library.")
    clay = card(page, "clay")
    in_unet = sum(part == "unet" for part, _ in halves)
    in_text = len(halves) - in_unet
    matched = f"{len(halves)} of {len(halves)} modules matched."
    expect(page.locator("#library-notices")).to_contain_text(matched)
    expect(clay).to_contain_text(matched)
    expect(clay).to_contain_text(
        f"Changes {in_unet} of the U-Net's modules, {in_text} of the text encoder's."
    )
    expect(clay).to_contain_text("rank 4, alpha 2")
    expect(clay.locator(".triggers")).to_have_text("sks")
    expect(clay.locator(".tag code")).to_have_text("<lora:clay:1>")

    clay.locator(".renaming input").fill("wet clay")
    clay.locator(".renaming input").press("Enter")
    wet = card(page, "wet clay")
    expect(wet.locator(".tag code")).to_have_text("<lora:wet clay:1>")

    links = wet.locator(".ways a")
    expect(links).to_have_count(2)
    with httpx.Client(base_url=studio[1]) as client:
        for link in links.all():
            answer = client.get("/" + link.get_attribute("href"))
            assert answer.status_code == 200
            assert len(answer.content) > 1000

    wet.get_by_text("Delete", exact=True).click()
    wet.locator(".keep").click()
    expect(wet.locator(".remove")).to_be_hidden()
    wet.get_by_text("Delete", exact=True).click()
    wet.locator(".remove").click()
    expect(page.locator(".entry")).to_have_count(0)
    expect(page.locator("#library-cards")).to_contain_text("The library is empty")


@pytest.mark.deep
def test_a_pickle_by_another_name_is_refused_in_one_sentence(page, data):
    bring(page, files.pickle_of({"a": 1}), "trap")
    expect(page.locator("#library-notices .error")).to_contain_text("trap is a pickle")
    bring(page, data)
    expect(page.locator("#library-notices .error")).to_have_count(0)
    expect(card(page, "clay")).to_be_visible()


def test_two_are_merged_into_a_third(visit, studio, tmp_path, data):
    put(studio, tmp_path, data, "clay", "wood")
    page = open_library(visit(path="?tab=library"))
    page.click("#library-merge")
    expect(page.locator("#library-merging .error")).to_contain_text("Choose the LoRAs")
    expect(page.locator("#library-merge-3")).to_be_hidden()
    choose(page, "#library-merge-1", "clay")
    choose(page, "#library-merge-2", "wood")
    expect(page.locator("#library-merge-3")).to_be_visible()
    page.fill("#library-merge-weight-1 input", "0.3")
    page.click("#library-merge")
    expect(page.locator("#library-merging .error")).to_contain_text("name")
    page.fill("#library-merged-name input", "both")
    page.click("#library-merge")
    expect(page.locator("#library-merging")).to_contain_text("both is in the library.")
    expect(card(page, "both")).to_contain_text("rank 8")
    job = studio[0].jobs.list("local", kind="merge_loras")[0]
    assert [use["weight"] for use in job.request["loras"]] == [0.3, 1.0]
    bring(page, data, "third")
    expect(card(page, "third")).to_be_visible()
    expect(page.locator("#library-merge-1 input")).to_have_value("clay · U-Net 32")
    page.click("#library-merge-1 input")
    expect(page.get_by_role("option").filter(has_text="both")).to_be_visible()


@pytest.mark.deep
def test_a_lora_becomes_part_of_a_model(visit, studio, tmp_path, data):
    put(studio, tmp_path, data, "clay")
    page = open_library(visit())
    choose(page, "#library-merge-1", "clay")
    choose(page, "#library-merged-model", TINY)
    expect(page.locator("#library-merged-rank")).to_be_hidden()
    page.fill("#library-merged-name input", "clay tiny")
    page.click("#library-merge")
    made = card(page, "clay tiny")
    expect(made.locator(".badge")).to_have_text("Model")
    made.locator("summary").first.click()
    expect(made.locator(".ways a")).to_have_count(0)
    made.locator(".use").click()
    expect(page.locator("#model input")).to_have_value("clay tiny")


@pytest.mark.deep
def test_what_is_everybody_s_is_not_changed_here(visit, studio, data):
    folder = studio[0].home / "loras"
    folder.mkdir(exist_ok=True)
    (folder / f"{SHARED}.safetensors").write_bytes(data)
    (folder / "broken.safetensors").write_bytes(b"\x80\x02}q\x00.")  # a pickle
    page = open_library(visit())
    expect(page.locator(".library-title")).to_have_text("Everybody's")
    ink = card(page, SHARED)
    ink.locator("summary").first.click()
    expect(ink.locator(".tag code")).to_be_visible()
    expect(ink.locator("form, .deletion")).to_have_count(0)
    expect(page.locator(".refusals")).to_contain_text("broken.safetensors is a pickle")


@pytest.mark.deep
def test_a_card_is_painted_with(visit, studio, tmp_path, data):
    put(studio, tmp_path, data, "clay")
    page = visit()
    page.fill("#prompt textarea", "a first picture")
    open_library(page)
    card(page, "clay").locator("summary").first.click()
    card(page, "clay").locator(".use").click()
    expect(page.locator("#lora-1 input")).to_have_value("clay · U-Net 32")
    expect(page.locator("#prompt textarea")).to_have_value("a first picture, sks")

    page.fill("#prompt textarea", "typed")  # in a page that has never shown the tab
    later = visit(path="?tab=library")
    card(later, "clay").locator("summary").first.click()
    card(later, "clay").locator(".use").click()
    expect(later.locator("#lora-1 input")).to_have_value("clay · U-Net 32")
    expect(later.locator("#prompt textarea")).to_have_value("typed, sks")


@pytest.mark.deep
def test_names_are_text_and_a_phone_shows_them_whole(visit, studio, tmp_path, data):
    put(studio, tmp_path, data, "a&b;'x' " + "long" * 20)
    page = open_library(visit(**PHONE))
    page.locator(".entry summary").first.click()
    expect(page.locator(".entry .tag code")).to_contain_text("<lora:a&b;'x' longlong")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
