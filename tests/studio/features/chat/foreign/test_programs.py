"""Conversations of LM Studio, LibreChat and Google Gemini: their branches, and what is left out."""

from __future__ import annotations

import io
import json
import time
import zipfile

import pytest

from pipelines.core.errors import BadRequest
from studio.features.chat.files.exchange import _remarks
from studio.features.chat.files.foreign_tree import (
    ACTIONS,
    ERRORS,
    FILES,
    JOINED,
    THOUGHTS,
    TOOLS,
    Found,
)
from studio.features.chat.files.html_to_markdown import markdown_of
from studio.features.chat.files.reading import read_file


def entries(data, name: str | None = None) -> list:
    """What is read from JSON, or from a zip in which it has the path ``name``."""
    data = json.dumps(data).encode()
    if name is not None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr(name, data)
        data = packed.getvalue()
    return list(read_file("ann", io.BytesIO(data), len(data)))


def one(data, name: str | None = None) -> Found:
    (found,) = entries(data, name)
    return found


def lines(found: Found) -> list[tuple[str, str, str]]:
    """Role, words, and the first words of what a message follows."""
    words = {each.id: each.content for each in found.said}
    return [(each.role, each.content, words.get(each.parent, "")) for each in found.said]


def block(*parts, **more):
    return {"type": "contentBlock", "content": list(parts), **more}


def words(text):
    return {"type": "text", "text": text}


LM_STUDIO = {
    "name": "Ducks",
    "pinned": False,
    "createdAt": 1_700_000_000_000,
    "userLastMessagedAt": 1_700_000_500_000,
    "systemPrompt": "",
    "usePerChatPredictionConfig": True,
    "perChatPredictionConfig": {
        "fields": [
            {"key": "llm.prediction.temperature", "value": 0.2},
            {"key": "llm.prediction.systemPrompt", "value": "Be brief."},
        ]
    },
    "messages": [
        {
            "versions": [
                {"type": "singleStep", "role": "user", "content": [words("How big is a goose?")]},
                {"type": "singleStep", "role": "user", "content": [
                    words("How big is a duck?"),
                    {"type": "file", "fileIdentifier": "1.jpg", "fileType": "image"}]},
            ],
            "currentlySelected": 1,
        },
        {
            "versions": [
                {"type": "multiStep", "role": "assistant", "senderInfo": {"senderName": "qwen"},
                 "steps": [
                     block(words("Hm."), style={"type": "thinking"}),
                     block({"type": "toolCallRequest", "name": "measure"}),
                     {"type": "toolStatus", "statusState": {}},
                     block({"type": "toolCallResult", "content": "5"}),
                     block(words("Half a metre."), genInfo={"identifier": "qwen3-8b"}),
                     block(words("At most.")),
                     {"type": "debugInfoBlock", "debugInfo": "Conversation naming technique"},
                 ]},
                {"type": "multiStep", "role": "assistant", "steps": [block(words("Big."))]},
            ],
            "currentlySelected": 0,
        },
        {"versions": [{"type": "singleStep", "role": "user", "content": [words("And a swan?")]}],
         "currentlySelected": 0},
    ],
}  # fmt: skip


@pytest.mark.parametrize("path", [None, "conversations/1700000000000.conversation.json"])
def test_conversations_of_lm_studio_come_in_with_their_versions(path):
    found = one(LM_STUDIO, path)
    assert (found.title, found.system_prompt) == ("Ducks", "Be brief.")
    assert (found.created, found.updated) == (1_700_000_000.0, 1_700_000_500.0)
    answer = "Half a metre.\n\nAt most."
    assert lines(found) == [
        ("user", "How big is a goose?", ""),
        ("user", "How big is a duck?", ""),
        ("assistant", answer, "How big is a duck?"),
        ("assistant", "Big.", "How big is a duck?"),
        ("user", "And a swan?", answer),
    ]
    assert found.said[2].model == "qwen3-8b"
    assert found.leaf == found.said[-1].id
    assert found.left_out == {FILES: 1, THOUGHTS: 1, TOOLS: 3}


def message(name, parent, text="", mine=False, **more):
    return {"messageId": name, "parentMessageId": parent, "text": text, "isCreatedByUser": mine,
            "sender": "User" if mine else "GPT", "error": False, "unfinished": False,
            "createdAt": "2024-05-01T16:35:11.530Z", **more}  # fmt: skip


ROOT = "00000000-0000-0000-0000-000000000000"
FLAT = [
    message("q", ROOT, "How big is a duck?", mine=True, files=[{"file_id": "f"}]),
    message("a", "q", "Half a metre.", model="gpt-4o"),
    message("b", "q", model="claude", content=[
        {"type": "think", "think": "Hm."},
        {"type": "tool_call", "tool_call": {"name": "x"}},
        {"type": "text", "text": {"value": "Big."}},
    ]),
    message("c", "q", "429 too many requests", error=True),
    message("q2", "b", "And a swan?", mine=True),
    message("a2", "q2", ":::thinking\nLong neck.\n:::\nBigger."),
]  # fmt: skip


def nest(name):
    found = next(each for each in FLAT if each["messageId"] == name)
    below = [each["messageId"] for each in FLAT if each["parentMessageId"] == name]
    return {**found, "children": [nest(each) for each in below]}


@pytest.mark.parametrize(
    "messages", [{"messages": FLAT}, {"messages": [nest("q")]}, {"messagesTree": [nest("q")]}]
)
def test_exports_of_librechat_come_in_as_lists_and_as_trees(messages):
    found = one(
        {
            "conversationId": "1",
            "endpoint": "openAI",
            "title": "Ducks",
            "exportAt": "13:18:04 GMT-0400 (Eastern Daylight Time)",
            "options": {"model": "gpt-4o", "promptPrefix": "Be brief."},
            **messages,
        }
    )
    assert (found.title, found.system_prompt) == ("Ducks", "Be brief.")
    assert sorted(lines(found)) == sorted(
        [
            ("user", "How big is a duck?", ""),
            ("assistant", "Half a metre.", "How big is a duck?"),
            ("assistant", "Big.", "How big is a duck?"),
            ("user", "And a swan?", "Big."),
            ("assistant", "Bigger.", "And a swan?"),
        ]
    )
    assert next(each for each in found.said if each.content == "Big.").model == "claude"
    assert found.left_out == {FILES: 1, THOUGHTS: 2, TOOLS: 1, ERRORS: 1}


def test_an_export_of_librechat_without_branches_keeps_its_order():
    cut = [each for each in FLAT if each["messageId"] in ("a", "q2", "a2")]
    found = one({"title": "x", "messages": [{**each, "parentMessageId": None} for each in cut]})
    assert [each.content for each in found.said] == ["Half a metre.", "And a swan?", "Bigger."]
    assert found.said[2].parent == found.said[1].id


def activity(title, when, *answers, **more):
    record = {
        "header": "Gemini Apps",
        "title": title,
        "time": f"2026-02-02T{when}:02.806Z",
        "products": ["Gemini Apps"],
        "activityControls": ["Gemini Apps Activity"],
        **more,
    }
    return record | ({"safeHtmlItem": [{"html": each} for each in answers]} if answers else {})


ACTIVITIES = [
    activity("Gave feedback: Good response", "09:01"),
    activity("Prompted And a swan?", "09:00", "<p>Bigger.</p>"),
    activity("Wie groß ist eine Gans?", "07:40", "<p>Groß.</p>"),
    activity("Prompted ", "07:26", "<p>A duck.</p>", imageFile="duck.png",
             subtitles=[{"name": "Attached 1 file."}]),
    activity("Prompted How big is a duck?", "07:24", "<p>Big.</p>",
             "<p>Half a <strong>metre</strong>.</p>"),
]  # fmt: skip


@pytest.mark.parametrize("path", [None, "Takeout/My Activity/Gemini Apps/MyActivity.json"])
def test_the_list_of_gemini_comes_in_as_conversations_between_pauses(path):
    first, second = entries(ACTIVITIES, path)
    answer = "Half a **metre**."
    assert lines(first) == [
        ("user", "How big is a duck?", ""),
        ("assistant", "Big.", "How big is a duck?"),
        ("assistant", answer, "How big is a duck?"),
        ("user", "[file]", answer),
        ("assistant", "A duck.", "[file]"),
        ("user", "Wie groß ist eine Gans?", "A duck."),
        ("assistant", "Groß.", "Wie groß ist eine Gans?"),
    ]
    assert first.left_out == {FILES: 1, JOINED: 1}
    assert [each.content for each in second.said] == ["And a swan?", "Bigger."]
    assert second.left_out == {ACTIONS: 1, JOINED: 1}
    said = " ".join(map(str, _remarks(first.left_out + second.left_out)))
    assert "2 conversations were put together" in said
    assert "1 entries of the list of activities" in said


def test_what_else_google_lists_is_no_conversation():
    search = {"header": "Search", "title": "Searched for ducks", "time": "2026-02-02T09:00:00Z",
              "products": ["Search"]}  # fmt: skip
    with pytest.raises(BadRequest, match="My Activity as JSON"):
        entries([search, search])


def test_a_conversation_of_gemini_in_workspace_comes_in():
    def user_turn(number, prompt):
        return {"user_turn": {"prompt": prompt, "turn_index": number,
                              "turn_last_modified": "2026-01-05T10:00:00Z"}}  # fmt: skip

    def system_turn(number, *texts, **more):
        parts = [{"data": each} for each in texts]
        return {"system_turn": {"text": parts, "turn_index": number, **more}}

    found = one(
        {
            "title": "Ducks",
            "creation_time": "2026-01-05T10:00:00Z",
            "last_modification_time": "2026-01-05T10:05:00Z",
            "conversation_turns": [
                user_turn(0, "How big is a goose?"),
                system_turn(1, "Big."),
                user_turn(0, "How big is a duck?"),
                system_turn(1, "Half a", "metre.", model_thoughts=[{"headline": "Hm"}],
                         images=["conversation_1_turn_1_images_0"]),
                system_turn(1, "Small."),
                {"other": 1},
            ],
        },
        "Takeout/Gemini in Workspace/Conversation History/conversation_1.txt",
    )  # fmt: skip
    assert lines(found) == [
        ("user", "How big is a goose?", ""),
        ("assistant", "Big.", "How big is a goose?"),
        ("user", "How big is a duck?", ""),
        ("assistant", "Half a\n\nmetre.", "How big is a duck?"),
        ("assistant", "Small.", "How big is a duck?"),
    ]
    assert found.left_out == {THOUGHTS: 1, FILES: 1}


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<p>One <em>two</em></p>\n<p>three</p>", "One *two*\n\nthree"),
        ("<h2>Title</h2><ul>\n<li>a</li><li><p>b</p><ol><li>c</li><li>d</li></ol></li></ul>",
         "## Title\n\n- a\n- b\n   1. c\n   2. d"),
        ("<p>See <a href=\"https://x.y/?a=1&amp;b\">it</a><br>5 &lt; 6</p>",
         "See [it](https://x.y/?a=1&b)\n5 < 6"),
        ("<pre><code>if a &lt; b:\n    c\n\n\n    d</code></pre>",
         "```\nif a < b:\n    c\n\n\n    d\n```"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>x|y</td></tr></table>",
         "| a | b |\n|---|---|\n| 1 | x\\|y |"),
        ("<blockquote><p>so</p></blockquote><hr>", "> so\n\n---"),
        ("a<b and <3 <", "a<b and <3 <"),
        ("<style>p{}</style><script>x</script><p>y", "y"),
        ("</ul></td></p>plain", "plain"),
    ],
)  # fmt: skip
def test_answers_in_html_become_markdown(html, markdown):
    assert markdown_of(html) == markdown


@pytest.mark.parametrize("piece", ["<", "<a", "<p>", "<ul><li>", "</p>", "&", "<pre>", "<tr><td>"])
def test_html_takes_time_in_proportion_to_it(piece):
    def seconds(count):
        before = time.thread_time()
        markdown_of(piece * count)
        return time.thread_time() - before

    assert any(seconds(20_000) < max(0.05, 6 * seconds(10_000)) for _ in range(5))


def test_odd_values_of_these_programs_are_no_error():
    odd = [None, 5, "x", [], {}, [None], {"text": 5}, float("nan")]
    for value in odd:
        for data in (
            {**LM_STUDIO, "messages": [{"versions": [value, {"role": "user", "content": "x"}],
                                        "currentlySelected": value}]},
            {**LM_STUDIO, "perChatPredictionConfig": value, "createdAt": value},
            {"messages": [{**FLAT[0], "children": value, "parentMessageId": value,
                           "messageId": value}, *FLAT]},
            [{**activity("Prompted a", "09:00", "b"), "time": value, "safeHtmlItem": value},
             *ACTIVITIES],
            {"title": value, "conversation_turns": [
                value, {"user_turn": value}, {"user_turn": {"prompt": "x", "turn_index": value}}]},
        ):  # fmt: skip
            assert any(found.said for found in entries(data) if isinstance(found, Found)), data
