"""The tab that shortens language models, as a person uses it, with a tiny random one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from playwright.sync_api import Page, expect

from pipelines.chat.entries import OWN
from pipelines.chat.pruning import evaluate
from pipelines.core.errors import UserError
from tests.browser.navigation import open_tab
from tests.browser.page.test_look import PHONE, widths
from tests.browser.page.test_rest import comes_to_rest, quickly
from tests.patience import PATIENCE, wait_until
from tests.pipelines.chat.llamas import save_llama

TAB = ("Labs", "Shorten a LLaMA")
TINY, BLOCKS = "Ten-block LLaMA", 10


@pytest.fixture(scope="module", autouse=True)
def tiny(studio) -> None:
    """A random model of ten blocks in the home folder's ``chat/``: the guard leaves four."""
    folder = studio[0].home / "chat"
    save_llama(folder / "ten", blocks=BLOCKS)
    (folder / "ten.yaml").write_text(
        f"title: {TINY}\nbackend: transformers\nsource: {{folder: ten}}\n"
    )


@pytest.fixture(scope="module", autouse=True)
def measured_shortly() -> Iterator[None]:
    """Fewer tokens of the text and of generation: how many there are is nothing to the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "Effort", partial(evaluate.Effort, 1024, 8, 2))
        yield


@pytest.fixture(autouse=True)
def tidy_up(studio):
    """Nothing is left at work, and no model in the library."""
    yield
    running, _ = studio
    for job in running.jobs.list("local"):
        running.jobs.cancel("local", job.id)
    wait_until(lambda: all(job.ended for job in running.jobs.list("local")))
    for known in running.prunings.list("local"):
        with contextlib.suppress(UserError):
            running.prunings.delete("local", known.id)


def open_shorten(page: Page, tab: tuple[str, str] = TAB) -> Page:
    """The tab with the tiny model chosen, whose blocks are the slider's."""
    open_tab(page, *tab)
    expect(page.locator("#shorten-panel .result-panel")).to_be_visible()
    expect(page.locator("#shorten-model input")).not_to_have_value("")
    if page.locator("#shorten-model input").input_value() != TINY:
        page.click("#shorten-model input")
        page.get_by_role("option", name=TINY, exact=True).click()
    expect(page.locator("#shorten-blocks input[type=range]")).to_have_attribute("max", "9")
    return page


def choose(page: Page, name: str, option: str) -> None:
    page.click(f"#shorten-{name} input")
    page.get_by_role("option", name=option, exact=True).click()


def drop(page: Page, count: int) -> None:
    page.fill("#shorten-blocks input[type=number]", str(count))
    page.keyboard.press("Tab")


def score(page: Page) -> Page:
    choose(page, "criterion", "Magnitude")
    page.click("#score")
    expect(page.locator("#scores-panel .block")).to_have_count(BLOCKS)
    return page


def shorten(page: Page) -> Page:
    page.click("#shorten")
    expect(page.locator("#shorten-panel .versus-table")).to_be_visible()
    return page


def test_scored_shortened_measured_asked_and_deleted(visit, studio):
    page = score(open_shorten(visit()))
    drop(page, 3)
    gone = page.locator("#scores-panel .block.gone")
    expect(gone).to_have_count(3)
    numbers = [int(each.get_attribute("data-block")) for each in gone.all()]
    shorten(page)
    parameters = page.locator("#shorten-panel [data-figure=parameters] b").all_inner_texts()
    before, after = (int(text.replace(",", "")) for text in parameters)
    # A block: q, o of 32 × 32, k, v of 32 × 16, three matrices of 32 × 64, two norms.
    assert before - after == 3 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32)
    for figure in ("file_bytes", "perplexity", "tokens_per_second", "peak_bytes"):
        expect(page.locator(f"#shorten-panel [data-figure={figure}] b")).to_have_count(2)
    went = page.locator("#shorten-panel .taken .block.gone")
    assert [int(each.get_attribute("data-block")) for each in went.all()] == numbers

    both = json.loads(page.locator(".chat-both").get_attribute("data-models"))
    assert both[0] == "ten"
    assert both[1].startswith(OWN)
    body = {"model": both[1], "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}
    with httpx.Client(base_url=studio[1], timeout=PATIENCE) as client:
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] > 0
        page.click("#shorten-delete")
        expect(page.locator("#shorten-delete-asked")).to_contain_text(f"{TINY} (−3)")
        page.click("#shorten-delete-for-good")
        expect(page.locator("#shorten-panel .empty")).to_contain_text("Nothing shortened yet")
        assert client.post("/v1/chat/completions", json=body).status_code == 404
    assert studio[0].prunings.list("local") == []


@pytest.mark.deep
def test_the_guard_is_hatched_and_never_goes(visit):
    page = score(open_shorten(visit()))
    expect(page.locator("#scores-panel .block.kept")).to_have_count(0)
    page.check("#shorten-guard input")
    expect(page.locator("#scores-panel .block.kept")).to_have_count(6)
    expect(page.locator("#shorten-blocks input[type=range]")).to_have_attribute("max", "4")
    drop(page, 4)
    for block in range(5, 9):
        expect(page.locator(f"#scores-panel .block.gone[data-block='{block}']")).to_be_visible()
    expect(page.locator("#scores-panel .block.gone")).to_have_count(4)


@pytest.mark.deep
def test_after_quick_changes_the_page_comes_to_rest(visit):
    page = score(open_shorten(visit()))
    for _ in range(3):
        page.locator("#shorten-guard input").click()
    quickly(page, "#shorten-blocks input[type=number]", "1", "2", "3", "1")
    comes_to_rest(page)


@pytest.mark.deep
def test_heads_and_channels_go_by_a_share(visit):
    page = open_shorten(visit())
    page.get_by_label("Heads and channels (width)").check()
    expect(page.locator("#shorten-share")).to_be_visible()
    expect(page.locator("#shorten-blocks")).to_be_hidden()
    expect(page.locator("#score")).to_be_hidden()
    expect(page.locator("#shorten-criterion input")).to_have_value("Taylor")
    page.fill("#shorten-share input[type=number]", "0.5")
    page.keyboard.press("Tab")
    shorten(page)
    taken = page.locator("#shorten-panel .taken")
    expect(taken).to_contain_text("2 key/value heads a block became 1.")
    expect(taken).to_contain_text("64 channels a block became 32.")


@pytest.mark.deep
def test_the_curve_has_a_point_for_each_number_of_blocks(visit):
    page = open_shorten(visit())
    choose(page, "criterion", "Magnitude")
    page.fill("#shorten-points input", "0, two")
    page.click("#curve")
    expect(page.locator("#curve-panel .error")).to_contain_text("not 0, two")
    page.fill("#shorten-points input", "0, 2, 5")
    page.click("#curve")
    expect(page.locator("#curve-panel .mark.perplexity")).to_have_count(3)
    expect(page.locator("#curve-panel .mark.speed")).to_have_count(3)
    cells = page.locator("#curve-panel tbody tr td:first-child").all_inner_texts()
    assert cells == ["0", "2", "5"]


@pytest.mark.deep
def test_a_running_one_is_found_again_stopped_and_resumed(visit):
    page = open_shorten(visit())
    choose(page, "criterion", "Magnitude")
    drop(page, 2)
    page.fill("#shorten-name textarea, #shorten-name input", "Halted")
    page.fill("#shorten-heal-minutes input", "60")
    page.click("#shorten")
    expect(page.locator("#shorten-panel .progress")).to_be_visible()
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    expect(page.get_by_role("tab", name=TAB[1])).to_have_attribute("aria-selected", "true")
    expect(page.locator("#shorten-panel .progress")).to_be_visible()
    healing = re.compile("Healing: step|heal|Loading")
    expect(page.locator("#shorten-panel .progress")).to_contain_text(healing)
    page.click("#shorten-stop")
    expect(page.locator("#shorten-panel .summary")).to_contain_text("Stopped.")
    expect(page.locator("#shorten-stop")).to_be_hidden()
    page.click("#shorten-resume")
    expect(page.locator("#shorten-panel .progress")).to_be_visible()
    page.click("#shorten-stop")
    expect(page.locator("#shorten-panel .summary")).to_contain_text("Stopped.")
    page.click("#shorten-delete")
    page.click("#shorten-delete-for-good")
    expect(page.locator("#shorten-panel .empty")).to_be_visible()


@pytest.mark.deep
def test_original_and_shortened_are_talked_with_side_by_side(visit):
    page = open_shorten(visit())
    choose(page, "criterion", "Magnitude")
    drop(page, 1)
    shorten(page)
    page.click(".chat-both")
    expect(page.get_by_role("tab", name="Chat", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    lanes = page.locator("#chat .lane select")
    expect(lanes).to_have_count(2)
    names = [lane.evaluate("each => each.selectedOptions[0].textContent") for lane in lanes.all()]
    assert names == [TINY, f"{TINY} (−1)"]


@pytest.mark.deep
def test_a_phone_never_scrolls_sideways(visit):
    page = score(open_shorten(visit(**PHONE)))
    drop(page, 2)
    expect(page.locator("#scores-panel .block.gone")).to_have_count(2)
    shorten(page)
    assert widths(page) == [390, 390]


@pytest.mark.deep
def test_a_chinese_browser_reads_chinese(visit):
    page = open_shorten(visit(locale="zh-CN"), ("实验室", "精简 LLaMA"))
    page.click("#shorten-criterion input")
    page.get_by_role("option", name="幅值", exact=True).click()
    page.click("#score")
    expect(page.locator("#scores-panel h4")).to_contain_text("各层的重要性")
    expect(page.locator("#shorten-panel .empty, #shorten-panel .result-panel")).to_contain_text(
        "精简"
    )
    assert "i18n" not in page.inner_text("body")
