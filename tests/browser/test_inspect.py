"""The tab that looks inside a language model: a tiny one, and the one that comes along."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.navigation import open_tab
from tests.browser.page.test_look import PHONE, widths
from tests.pipelines.chat.tiny_llama import byte_level, llama

TINY = "Tiny LLaMA"
TAB = ("Labs", "Look inside a LLaMA")
TEXT = "The cat sat on the mat"
PARTS = {"odds": ".row", "attention": ".map", "layers": ".lens", "build": ".diagram"}
VIEWS = tuple(PARTS)


@pytest.fixture(scope="module", autouse=True)
def tiny(studio) -> None:
    """A random model in the home folder's ``chat/``."""
    folder = studio[0].home / "chat"
    llama().save_pretrained(folder / "tiny")
    byte_level().save_pretrained(folder / "tiny")
    (folder / "tiny.yaml").write_text(
        f"title: {TINY}\nbackend: transformers\nsource: {{folder: tiny}}\n"
        "sampling: {temperature: 0.5, top_k: 3}\n"
    )


def open_inspector(page, text: str | None = TEXT, tab: tuple[str, str] = TAB):
    """The tab with the tiny model's odds."""
    open_tab(page, *tab)
    expect(page.locator("#inside-odds .empty-state")).to_be_visible()
    page.click("#inside-model input")
    page.get_by_role("option", name=TINY).click()
    expect(page.locator("#inside-top-k input[type=number]")).to_have_value("3")
    if text is not None:
        page.fill("#inside-text textarea", text)
    page.click("#inside-open")
    expect(page.locator("#inside-odds .row")).to_have_count(20)
    return page


def turn_to(page, view: str) -> None:
    page.locator("#inside-views").get_by_role("tab").nth(VIEWS.index(view)).click()


@pytest.mark.deep
def test_the_starter_knows_the_capital_of_france(visit):
    page = visit()
    open_tab(page, *TAB)
    expect(page.locator("#inside-model input")).to_have_value("SmolLM2 135M")
    expect(page.locator("#inside-odds .empty-state")).to_contain_text("Nothing opened yet")
    page.click("#inside-open")
    first = page.locator("#inside-odds .row").first
    expect(first.locator("code")).to_have_text("␣Paris")
    turn_to(page, "build")
    expect(page.locator("#inside-build")).to_contain_text("134,515,008")
    expect(page.locator("#inside-build .groups > span")).to_have_count(3)


@pytest.mark.deep
def test_the_settings_of_the_file_cut_all_but_three_tokens(visit):
    page = open_inspector(visit())
    expect(page.locator("#inside-odds .row:not(.gone)")).to_have_count(3)
    expect(page.locator("#inside-odds .summary")).to_contain_text("3 of 300 tokens")


def test_bars_follow_a_slider_at_once_and_another_head_and_block_is_another_map(visit):
    page = open_inspector(visit())
    shown = page.locator("#inside-odds .row b").first
    before = shown.inner_text()
    page.fill("#inside-temperature input[type=number]", "2")
    page.keyboard.press("Tab")
    expect(shown).not_to_have_text(before)
    page.click("#inside-off")
    expect(page.locator("#inside-odds .row.gone")).to_have_count(0)
    own = page.locator("#inside-odds .row > span:not(.bar)").first.inner_text()
    expect(shown).to_have_text(own)
    page.click("#inside-as-set")
    expect(page.locator("#inside-odds .row:not(.gone)")).to_have_count(3)

    turn_to(page, "attention")
    map_ = page.locator("#inside-attention img[data-names]")
    expect(page.locator(".heads button")).to_have_count(5)  # the mean and four
    expect(page.locator(".heads [aria-pressed=true]")).to_have_text("Mean")
    mean = map_.get_attribute("src")
    page.locator(".heads button").nth(3).click()
    expect(page.locator(".heads [aria-pressed=true]")).to_have_text("Head 3")
    expect(map_).not_to_have_attribute("src", mean)
    third = map_.get_attribute("src")
    page.fill("#inside-layer input[type=number]", "3")
    page.keyboard.press("Tab")
    expect(map_).not_to_have_attribute("src", third)
    expect(page.locator(".heads [aria-pressed=true]")).to_have_text("Head 3")


@pytest.mark.deep
def test_a_click_on_a_token_looks_after_it(visit):
    page = open_inspector(visit())
    tokens = page.locator("#inside-tokens .strip button")
    title = page.locator("#inside-odds h4")
    page.locator("#inside-tokens .strip button").nth(1).click()
    expect(tokens.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(title).to_have_text(f"What may come after “{_label(tokens.nth(1).inner_text())}”")
    assert "".join(tokens.all_inner_texts()) == TEXT


@pytest.mark.deep
def test_special_tokens_count_only_when_asked(visit):
    page = open_inspector(visit(), "a<|im_end|>b")
    expect(page.locator("#inside-tokens .special")).to_have_count(0)
    page.check("#inside-read-specials input")
    page.click("#inside-open")
    expect(page.locator("#inside-tokens .special")).to_have_text("<|im_end|>")


@pytest.mark.deep
def test_the_map_says_what_is_under_the_pointer(visit):
    page = open_inspector(visit())
    turn_to(page, "attention")
    box = page.locator("#inside-attention img[data-names]").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)  # the first token has only itself to look at
    expect(page.locator(".reading")).to_contain_text("(1) looks at")
    expect(page.locator(".reading")).to_contain_text("(1): 100 %")


@pytest.mark.deep
def test_the_lens_ends_with_the_models_answer(visit):
    page = open_inspector(visit())
    page.click("#inside-off")
    expect(page.locator("#inside-odds .row.gone")).to_have_count(0)
    best = page.locator("#inside-odds .row code").first.inner_text()
    turn_to(page, "layers")
    rows = page.locator(".lens tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.last.locator("th")).to_have_text("Output")
    expect(rows.last.locator("td").last).to_have_text(best)


@pytest.mark.deep
def test_a_text_that_is_too_long_is_refused_with_both_numbers(visit):
    page = open_inspector(visit())
    turn_to(page, "layers")
    expect(page.locator(".lens")).to_be_visible()
    page.fill("#inside-text textarea", "x " * 300)
    page.click("#inside-open")
    expect(page.locator("#inside-said .error")).to_contain_text("600 tokens")
    expect(page.locator("#inside-said .error")).to_contain_text("512")


@pytest.mark.deep
def test_markup_in_a_text_stays_text(visit):
    page = open_inspector(visit(), "<img src=x onerror=alert(1)>")
    for view in VIEWS:
        turn_to(page, view)
        expect(page.locator(f"#inside-{view} {PARTS[view]}").first).to_be_visible()
    assert page.locator("#inside-tokens img, .lens img, #inside-odds img").count() == 0


@pytest.mark.deep
def test_a_chinese_reader_gets_all_of_it_in_chinese(visit):
    page = open_inspector(visit(locale="zh-CN"), tab=("实验室", "看 LLaMA 的内部"))
    expect(page.locator("#inside-odds h4")).to_contain_text("之后可能出现的词元")
    expect(page.locator("#inside-tokens")).to_contain_text("个词元")
    turn_to(page, "attention")
    expect(page.locator(".heads button").nth(1)).to_have_text("头 1")
    turn_to(page, "layers")
    expect(page.locator(".lens")).to_contain_text("词嵌入")
    turn_to(page, "build")
    expect(page.locator(".build")).to_contain_text("个参数")


@pytest.mark.deep
def test_a_phone_never_scrolls_sideways_in_any_view(visit):
    page = open_inspector(visit(**PHONE), "The cat sat on the mat, " * 12)
    for view, part in PARTS.items():
        turn_to(page, view)
        expect(page.locator(f"#inside-{view} {part}").first).to_be_visible()
        assert widths(page) == [390, 390], view


def _label(text: str) -> str:
    return text.replace(" ", "␣")
