"""Answers that come late: what the Teach tab shows is never replaced by something older."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import Page, expect

from studio.core.accounts.accounts import LOCAL_OWNER
from tests.browser.page.traffic import wait_until_settled
from tests.browser.teaching import open_teach_tab, photos_of, take_examples, tidy, upload
from tests.patience import PATIENCE
from tests.studio.live import TINY, settings


@pytest.fixture
def page(visit) -> Page:
    return open_teach_tab(visit)


@pytest.fixture(autouse=True)
def tidy_up(studio):
    yield
    tidy(studio)


@pytest.mark.deep
def test_a_late_answer_to_older_settings_does_not_replace_a_newer_one(page, studio, monkeypatch):
    trainings = studio[0].trainings
    preflight = trainings.preflight
    asked, answered = ({steps: threading.Event() for steps in (111, 222)} for _ in range(2))
    release = threading.Event()

    def hold(owner, data):
        steps = int(data["steps"])
        if steps in asked:
            asked[steps].set()
        if steps == 111:
            assert release.wait(PATIENCE)
        found = preflight(owner, data)
        if steps in answered:
            answered[steps].set()
        return found

    take_examples(page)
    page.get_by_role("button", name="How long and how fast").click()
    expected, steps = page.locator("#train-expected"), page.locator("#train-steps input")
    expect(expected).to_contain_text("steps")
    monkeypatch.setattr(trainings, "preflight", hold)
    steps.fill("111")
    steps.blur()
    assert asked[111].wait(PATIENCE)
    steps.fill("222")
    steps.blur()
    # The page may hold the newer question back until the older one is answered; if it does not,
    # the newer answer is here first.
    if answered[222].wait(2):
        expect(expected).to_contain_text("222 steps")
    release.set()
    assert answered[111].wait(PATIENCE)
    assert answered[222].wait(PATIENCE)
    wait_until_settled(page)
    expect(expected).to_contain_text("222 steps")


@pytest.mark.deep
def test_a_training_that_goes_on_does_not_replace_the_one_that_was_chosen(page, studio):
    running = studio[0]
    upload(page, photos_of(3))
    expect(page.locator("#train-photos [data-id]")).to_have_count(3)
    (subject,) = running.subjects.list("local")
    long = settings(steps=150, batch_count=8, width=256, height=256)
    before = running.submissions.submit(LOCAL_OWNER, "text_to_image", long)
    names = ("chosen", "waiting")
    chosen, waiting = (
        running.submissions.submit(
            LOCAL_OWNER,
            "dreambooth",
            {"subject": subject.id, "model": TINY, "name": name, "class_word": "cat",
             "batch_size": 1, "prior_preservation": False},
        )
        for name in names
    )  # fmt: skip
    running.jobs.cancel("local", chosen.id)
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    page.get_by_role("tab", name="Teach").click()
    panel, earlier = page.locator("#train-panel"), page.locator("#train-earlier input")
    expect(earlier).to_have_value("waiting · waiting")
    expect(panel.locator(".progress")).to_be_visible()
    earlier.click()
    page.get_by_role("option", name="chosen · stopped").click()
    expect(panel).to_contain_text("Stopped before the first step.")
    assert not running.jobs.get("local", before.id).ended, "the other one is still waiting"
    running.jobs.cancel("local", waiting.id)  # which its own watch would show
    running.jobs.cancel("local", before.id)
    wait_until_settled(page)
    expect(panel).to_contain_text("Stopped before the first step.")
    expect(earlier).to_have_value("chosen · stopped")
    expect(page.locator("#train-resume")).to_be_visible()
