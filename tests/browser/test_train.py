"""Teaching a subject, as a person does it: photos, a short training, trying, deleting."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from pipelines.dreambooth import process, train
from tests.browser.teaching import EXAMPLES, open_teach_tab, photos_of, take_examples, tidy, upload
from tests.patience import PATIENCE
from tests.pipelines.dreambooth.data.test_photos import HEIC, encode, scene
from tests.studio.features.training.test_photo_uploads import find_camera_data, photograph
from tests.studio.live import TINY


@pytest.fixture
def page(visit) -> Page:
    return open_teach_tab(visit)


@pytest.fixture(autouse=True)
def tidy_up(studio):
    yield
    tidy(studio)


@pytest.fixture
def go_on(monkeypatch) -> Iterator[threading.Event]:
    """Trainings wait for this event and then run in the studio's own process.

    A process of a training imports torch and all else for seconds; the deep tests have real ones.
    """
    event = threading.Event()

    def launch(folder, request, device, offline) -> subprocess.Popen:
        waiting = subprocess.Popen("cat", stdin=subprocess.PIPE, start_new_session=True)

        def run() -> None:
            with waiting:  # it ends when nobody can write to it any more
                assert event.wait(PATIENCE)
                train.main([str(folder.path), "--device", "cpu", "--offline"])

        threading.Thread(target=run).start()
        return waiting

    monkeypatch.setattr(process, "launch_trainer", launch)
    # accelerate has one precision for all of a process: that of the other tests.
    monkeypatch.setattr(train, "precision_for", lambda *_: "no")
    yield event
    event.set()


def choose_tiny(page: Page, steps: int) -> None:
    """The tiny base and a training of some steps."""
    page.click("#train-model input")
    page.get_by_role("option", name=TINY, exact=True).click()
    # The preset's settings for that base come before one's own.
    page.get_by_role("button", name="How long and how fast").click()
    expect(page.locator("#train-steps input")).to_have_value("400")
    expect(page.locator("#train-expected")).to_contain_text("400 steps")
    shorten(page, steps)


def shorten(page: Page, steps: int) -> None:
    """A training of some steps; “How long and how fast” is open."""
    page.fill("#train-steps input", str(steps))
    page.fill("#train-warmup-steps input[type=number]", "0")
    page.locator("#train-warmup-steps input[type=number]").blur()
    expect(page.locator("#train-expected")).to_contain_text(f"{steps} steps")


@pytest.mark.deep
def test_no_copy_of_a_photo_as_it_was_sent_is_left(page, studio):
    sent = [{"name": f"{n}.jpg", "mimeType": "image/jpeg", "buffer": photograph(n)} for n in (1, 2)]
    upload(page, sent)
    expect(page.locator("#train-said")).to_contain_text("2 of 2 photos were taken.")
    assert find_camera_data(studio[0].home) == set()


@pytest.mark.deep
def test_crop_and_caption_are_changed_where_one_clicks(page):
    upload(page, photos_of(2))
    page.locator("#train-photos [data-id]").first.click()
    frame = page.locator("#train-whole .framed i")
    before = frame.get_attribute("style")
    page.locator("#train-whole .framed").click(position={"x": 3, "y": 40})
    expect(frame).not_to_have_attribute("style", before)
    page.click("#train-automatic")
    expect(frame).to_have_attribute("style", before)
    page.fill("#train-caption textarea", "a cat")
    page.locator("#train-caption textarea").blur()
    expect(page.locator("#train-said")).to_contain_text("does not hold [trigger]")
    page.fill("#train-caption textarea", "a [trigger] on the grass")
    page.locator("#train-caption textarea").blur()
    expect(page.locator("#train-said .error")).to_have_count(0)
    page.click("#train-remove")
    expect(page.locator("#train-photos [data-id]")).to_have_count(1)


def test_photos_are_taken_taught_tried_and_deleted_and_what_is_refused_is_said(page, go_on):
    heic = {"name": "phone.heic", "mimeType": "image/heic", "buffer": HEIC}
    again = {"name": "again.png", "mimeType": "image/png", "buffer": encode(scene(seed=0))}
    upload(page, [*photos_of(3), heic, again])
    expect(page.locator("#train-photos [data-id]")).to_have_count(3)
    said = page.locator("#train-said")
    expect(said).to_contain_text("3 of 5 photos were taken.")
    expect(said).to_contain_text("HEIC")
    expect(said).to_contain_text("here already")
    expect(page.locator("#train-called input")).to_have_value("My subject")

    take_examples(page)
    choose_tiny(page, steps=3)
    page.fill("#train-name input", "pot")
    page.click("#train")
    expect(page.locator("#train-panel .progress")).to_be_visible()
    page.reload()  # the training goes on without the page
    page.problems.clear()  # the old page complains that its connection was cut
    page.get_by_role("tab", name="Teach").click()
    expect(page.locator("#train-photos [data-id]")).to_have_count(EXAMPLES)
    expect(page.locator("#train-panel .progress")).to_be_visible()
    go_on.set()
    expect(page.locator("#train-panel .summary")).to_contain_text("pot is ready")
    expect(page.locator("#train-panel .curve polyline")).to_have_count(2)
    tried = page.locator("#try-prompts textarea")
    expect(tried).to_have_value(re.compile(r"^a \w+ mug on"))  # the word is the first free one
    words = " ".join(tried.input_value().split()[:3])
    page.fill("#try-prompts textarea", words)
    page.click("#try-compare")
    expect(page.locator("#try-panel .sheet img")).to_be_visible()
    expect(page.locator("#try-panel .sheet figcaption")).to_contain_text(f"“{words}”")
    expect(page.locator("#try-panel [data-id]")).to_have_count(6)
    page.click("#try-paint")
    expect(page.locator("#prompt textarea")).to_have_value(words)
    expect(page.locator("#lora-1 input")).to_have_value("pot · U-Net 32")
    page.get_by_role("tab", name="Teach").click()
    page.click("#train-delete")
    expect(page.locator("#train-delete-asked")).to_contain_text("1 trainings, 1 LoRAs (pot)")
    page.click("#train-delete-for-good")
    expect(page.locator("#train-photos [data-id]")).not_to_have_count(EXAMPLES)


def choose_method(page: Page, name: str) -> None:
    page.click("#train-method input")
    page.get_by_role("option", name=name, exact=True).click()


@pytest.mark.deep
def test_textual_inversion_learns_with_the_settings_as_they_are(page):
    take_examples(page)
    page.get_by_role("button", name="What learns").click()
    rank, vectors = (
        page.locator(f"#train-{name} input[type=number]") for name in ("rank", "vectors")
    )
    expect(rank).to_have_value("16")
    expect(vectors).to_have_count(0)
    choose_method(page, "Full")
    expect(rank).to_have_count(0)
    expect(page.locator("#train-train-text-encoder")).to_be_visible()
    choose_method(page, "LoRA")
    expect(rank).to_have_value("16")
    choose_method(page, "Textual inversion")
    expect(rank).to_have_count(0)
    expect(vectors).to_have_value("4")
    expect(page.locator("#train-checked")).to_contain_text("makes a new word: “kref-mug”")
    expect(page.locator("#train-expected")).to_contain_text("“kref-mug” is the new word")
    # All but how long, for which a test has no patience.
    page.get_by_role("button", name="How long and how fast").click()
    expect(page.locator("#train-steps input")).to_have_value("150")
    shorten(page, steps=2)
    page.fill("#train-name input", "word")
    page.click("#train")
    expect(page.locator("#train-panel .summary")).to_contain_text("word is ready")
    expect(page.locator("#try-prompts textarea")).to_have_value(re.compile(r"^a kref-mug on"))
    page.fill("#try-prompts textarea", "a kref-mug on the sand")
    page.click("#try-compare")
    expect(page.locator("#try-panel .sheet img")).to_be_visible()
    expect(page.locator("#try-panel [data-id]")).to_have_count(2)
    page.click("#try-paint")
    expect(page.locator("#prompt textarea")).to_have_value("a kref-mug on the sand")
    expect(page.locator("#lora-1 input")).to_have_value(re.compile("^word"))


@pytest.mark.deep
def test_a_few_photos_of_one_s_own_are_learnt_with_the_settings_as_they_are(page):
    upload(page, photos_of(5))
    expect(page.locator("#train-photos [data-id]")).to_have_count(5)
    page.get_by_role("button", name="How long and how fast").click()
    batch = page.locator("#train-batch-size input[type=number]")
    expect(batch).to_have_value("5")
    shorten(page, steps=2)
    page.get_by_role("button", name="Photos and class").click()
    page.uncheck("#train-prior-preservation input")  # for which the starter paints a while
    page.fill("#train-name input", "five")
    page.click("#train")
    expect(page.locator("#train-panel .summary")).to_contain_text("five is ready")
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    page.get_by_role("tab", name="Teach").click()
    page.get_by_role("button", name="How long and how fast").click()
    expect(batch).to_have_value("5")
    upload(page, [photo | {"name": f"further {photo['name']}"} for photo in photos_of(9)[5:]])
    expect(page.locator("#train-photos [data-id]")).to_have_count(9)
    expect(batch).to_have_value("8")  # as the preset has it
    batch.fill("3")
    page.locator("#train-photos [data-id]").first.click()
    page.click("#train-remove")
    expect(page.locator("#train-photos [data-id]")).to_have_count(8)
    expect(page.locator("#train-expected")).to_contain_text("steps")
    expect(batch).to_have_value("3")  # one's own choice, which the photos suffice for


@pytest.mark.deep
def test_stop_keeps_what_was_learnt_and_resume_goes_on(page, studio):
    take_examples(page)
    choose_tiny(page, steps=100_000)
    page.click("#train")
    expect(page.locator("#train-panel .curve")).to_be_visible()
    page.click("#train-stop")
    expect(page.locator("#train-panel")).to_contain_text("Stopped at step")
    running, _ = studio
    (record,) = running.library.own("local")
    assert record.kind == "lora"
    first = max(line.get("step", 0) for line in _progress(running))
    page.click("#train-resume")
    expect(page.locator("#train-panel .progress")).to_be_visible()
    page.wait_for_function(
        "first => Number((document.querySelector('#train-panel .progress')?.innerText"
        ".match(/Step (\\d+)/) || [])[1]) > first",
        arg=first,
    )
    page.click("#train-stop")
    expect(page.locator("#train-panel")).to_contain_text("Stopped at step")
    page.click("#train-duplicate")
    expect(page.locator("#train-steps input")).to_have_value("100000")
    page.click("#training-delete")
    expect(page.locator("#training-delete-asked")).to_contain_text(
        "Delete the training My teapot for"
    )
    page.locator("#training-delete-for-good").locator("xpath=..").get_by_text("Keep").click()
    expect(page.locator("#training-delete-for-good")).to_be_hidden()
    assert running.trainings.list("local")
    page.click("#training-delete")
    page.click("#training-delete-for-good")
    expect(page.locator("#train-panel")).to_contain_text("Nothing taught yet")
    expect(page.locator("#training-delete-for-good")).to_be_hidden()
    expect(page.locator("#training-delete")).to_be_hidden()
    expect(page.locator("#try")).to_be_hidden()
    assert running.trainings.list("local") == []
    assert [each.id for each in running.library.own("local")] == [record.id]


def _progress(running) -> list[dict]:
    (training,) = running.trainings.list("local")
    return running.trainings.progress("local", training.id)[0]
