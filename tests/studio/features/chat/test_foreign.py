"""Conversations of other programs: what people have comes in, with its branches, and what does not
is told."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from pipelines.core.child_process import UnreadableAnswer
from pipelines.core.errors import BadRequest, Busy
from studio.features.chat.files import reading
from studio.features.chat.files.exchange import Exchange
from studio.features.chat.files.foreign import read_conversation
from studio.features.chat.files.reading import MAX_FILE
from studio.features.chat.tree import MAX_TREE
from tests.studio.features.chat.talk import ANN, Talk


@pytest.fixture
def exchange(store, settings):
    return Exchange(store, settings)


@pytest.fixture
def bring(conversations, exchange):
    """``bring(data)``: what has come in, and the conversation as a :class:`Talk`."""

    def bring(data, owner: str = ANN):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        brought = exchange.bring(owner, io.BytesIO(data), len(data))
        talk = Talk.__new__(Talk)
        talk.all, talk.owner, talk.id = conversations, owner, brought.first.id
        return brought, talk

    return bring


def remarks(brought) -> list[str]:
    return [str(each) for each in brought.remarks]


def node(name, parent, children, role=None, parts=(), **more):
    message = role and {
        "id": name,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1_700_000_000.5,
        "content": {"content_type": "text", "parts": list(parts)},
        "recipient": "all",
        "metadata": {},
        **more,
    }
    return {"id": name, "message": message, "parent": parent, "children": children}


def hidden_message(**more):
    return {"metadata": {"is_visually_hidden_from_conversation": True}, **more}


def chatgpt(**changes):
    gpt = {"metadata": {"model_slug": "gpt-4o"}}
    nodes = [
        node("root", None, ["sys"]),
        node("sys", "root", ["q", "q2"], "system", [""], **hidden_message()),
        # The order of a mapping says nothing: the answer stands before its question.
        node("a", "q", ["tool"], "assistant", ["Let me look."], **gpt),
        node("q", "sys", ["a", "b"], "user", ["How big is a duck?"]),
        node("q2", "sys", [], "user", ["How big is a goose?"]),
        node("call", "a", ["tool"], "assistant", [], recipient="browser",
             content={"content_type": "code", "text": "search()"}),
        node("tool", "call", ["a2"], "tool", ["result"]),
        node("a2", "tool", ["q3"], "assistant", ["Half a metre."], **gpt),
        node("b", "q", [], "assistant", ["Big enough."], **gpt),
        node("q3", "a2", ["think"], "user", [],
             content={"content_type": "multimodal_text",
                      "parts": [{"content_type": "image_asset_pointer"}, "And this one?"]}),
        node("think", "q3", ["a3"], "assistant", [], content={"content_type": "thoughts"}),
        node("a3", "think", [], "assistant", ["A swan."], **gpt),
    ]  # fmt: skip
    return {
        "title": "Ducks  and\ngeese",
        "create_time": 1_700_000_000.1,
        "update_time": 1_700_000_100.2,
        "mapping": {each["id"]: each for each in nodes},
        "current_node": "a3",
        "conversation_id": "x",
        **changes,
    }


def test_an_export_of_chatgpt_comes_in_with_its_branches(bring):
    brought, talk = bring([chatgpt()])
    assert talk.now.title == "Ducks and geese"
    assert talk.said == [
        *("How big is a duck?", "Let me look.\n\nHalf a metre."),
        *("And this one?", "A swan."),
    ]
    question, answer, *_ = talk.path()
    assert (question.siblings, answer.siblings) == (2, 2)
    assert (answer.model, answer.created) == ("gpt-4o", 1_700_000_000.5)
    talk.all.choose(ANN, talk.all.siblings(ANN, answer.id)[1].id, talk.revision)
    assert talk.said == ["How big is a duck?", "Big enough."]
    assert talk.now.updated == pytest.approx(1_700_000_100.2)
    assert remarks(brought) == [
        "Left out: 1 pictures and other files.",
        "Left out: 2 calls and answers of tools.",
        "Left out: 1 passages of a model's thinking.",
    ]
    talk.say("Thanks.")


def test_all_conversations_of_a_file_come_in_and_the_newest_is_shown(bring, conversations):
    old = chatgpt(title="Old", update_time=1_600_000_000, create_time=None)
    empty = chatgpt(mapping={"root": node("root", None, [])})
    brought, talk = bring([old, chatgpt(), empty, {"name": "no conversation"}])
    assert (brought.count, talk.now.title) == (2, "Ducks and geese")
    assert [each.title for each in conversations.list(ANN)] == ["Ducks and geese", "Old"]
    assert remarks(brought)[-1] == "Left out: 1 entries that are no conversations."


def test_a_mapping_in_a_circle_or_with_gaps_comes_in_once(bring):
    nodes = [
        node("a", "b", ["b"], "user", ["one"]),
        node("b", "a", ["a"], "assistant", ["two"]),
        node("c", "gone", [], "user", ["three"]),
        node("d", 7, "x", "user", [None, 7]),
    ]
    mapping = {each["id"]: each for each in nodes} | {"e": None, "f": {"message": []}}
    _, talk = bring(chatgpt(mapping=mapping, current_node="gone", title=None))
    contents = [row["content"] for row in talk.all.store.rows("SELECT * FROM chat_messages")]
    assert sorted(contents) == ["[file]", "one", "three", "two"]


def zip_files(**files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def test_the_zip_that_chatgpt_sends_comes_in(bring):
    data = zip_files(user_json="{}", conversations_json=json.dumps([chatgpt()]), chat_html="<p>")
    assert bring(data)[1].said[-1] == "A swan."


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (zip_files(chat_html="<p>"), "Taken are the exports"),
        (zip_files(a_json="[{}]")[:-40], "zip cannot be unpacked"),
        pytest.param(zip_files(a_json="[1, 2"), "not JSON", marks=pytest.mark.deep),
        pytest.param(zip_files(a_json=b"\xff\xff"), "no text in UTF-8", marks=pytest.mark.deep),
        pytest.param(
            zip_files(a_json="[" + "{}," * 400_000 + "{}]"),
            "Taken are the exports",
            marks=pytest.mark.deep,
        ),
    ],
)
def test_a_bad_zip_is_refused_by_a_sentence(bring, data, sentence):
    with pytest.raises(BadRequest, match=sentence):
        bring(data)


OPEN_WEBUI = {
    "id": "x",
    "title": "Ducks",
    "created_at": 1_700_000_000,
    "updated_at": 1_700_000_500,
    "chat": {
        "models": ["llama3:8b"],
        "params": {"system": "Be brief."},
        "history": {
            "currentId": "c",
            "messages": {
                "a": {"id": "a", "parentId": None, "childrenIds": ["b", "c"], "role": "user",
                      "content": "How big?", "timestamp": 1_700_000_001,
                      "files": [{"type": "image"}]},
                "b": {"id": "b", "parentId": "a", "childrenIds": [], "role": "assistant",
                      "content": "Half a metre.", "model": "llama3:8b"},
                "c": {"id": "c", "parentId": "a", "childrenIds": [], "role": "assistant",
                      "content": '<details type="reasoning" done="true">\n<summary>Thought'
                                 "</summary>\n> Hm.\n</details>\nSmall.", "model": "qwen3"},
            },
        },
    },
}  # fmt: skip
CLAUDE = {
    "uuid": "x",
    "name": "Ducks",
    "created_at": "2024-05-01T10:00:00.000000Z",
    "updated_at": "2024-05-02T10:00:00.000000Z",
    "chat_messages": [
        {"uuid": "a", "sender": "human", "text": "How big?", "created_at": "2024-05-01T10:00:00Z",
         "content": [{"type": "text", "text": "How big?"}], "attachments": [{"file_name": "x"}],
         "parent_message_uuid": "00000000-0000-4000-8000-000000000000"},
        {"uuid": "b", "sender": "assistant", "text": "", "parent_message_uuid": "a",
         "content": [{"type": "text", "text": "Half a metre."}, {"type": "tool_use"}]},
        {"uuid": "c", "sender": "assistant", "text": "", "parent_message_uuid": "a",
         "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Small."}]},
    ],
}  # fmt: skip
TAVERN = [
    {"user_name": "Ann", "character_name": "Duck", "create_date": "x"},
    {"name": "Ann", "is_user": True, "mes": "How big?"},
    {"name": "Duck", "is_user": False, "mes": "Small.", "swipes": ["Half a metre.", "Small."]},
]
BRANCHED = {"Open WebUI": [OPEN_WEBUI], "Claude": [CLAUDE], "SillyTavern": TAVERN}


@pytest.mark.parametrize("program", BRANCHED)
def test_exports_of_other_programs_come_in_with_their_branches(bring, program):
    data = BRANCHED[program]
    if program == "SillyTavern":
        data = "\n".join(map(json.dumps, data)).encode()
    brought, talk = bring(data)
    assert talk.said == ["How big?", "Small."]
    shown = talk.path()[-1]
    assert [each.content for each in talk.all.siblings(ANN, shown.id)] == [
        *("Half a metre.", "Small.")
    ]
    if program == "Open WebUI":
        assert (talk.now.system_prompt, shown.model) == ("Be brief.", "qwen3")
        assert talk.now.updated == 1_700_000_500
    if program != "SillyTavern":
        assert "Left out: 1 pictures and other files." in remarks(brought)
        assert "Left out: 1 passages of a model's thinking." in remarks(brought)


OPENAI = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": "12 °C", "tool_call_id": "1"},
    {"role": "assistant", "content": [{"type": "output_text", "text": "Cold."}]},
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Thanks \ud83d"},
]
GPT = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "hi"},
       {"from": "gpt", "value": "Cold."}, {"from": "human", "value": "Thanks ?"}]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        OPENAI,
        {"model": "gpt-4", "messages": OPENAI, "temperature": 1},
        json.dumps({"messages": OPENAI}).encode() + b"\n",
        "\r\n".join(map(json.dumps, OPENAI)).encode(),
        b"\xef\xbb\xbf" + json.dumps(OPENAI, indent=2).encode(),
        {"id": "x", "conversations": GPT},
        [{"id": "x", "conversations": GPT}],
        GPT,
        [[*OPENAI]],
        {"chats": [{"messages": OPENAI}]},
    ],
    ids=str.split("list body line lines BOM ShareGPT ShareGPTs from-value lists chats"),
)
def test_lists_of_messages_come_in_whatever_is_around_them(bring, data):
    brought, talk = bring(data)
    assert talk.said == ["hi", "Cold.", "Thanks ?"]
    assert talk.now.system_prompt.startswith("Be kind.")
    if len(talk.now.system_prompt) > len("Be kind."):
        assert talk.now.system_prompt == "Be kind.\n\nBe brief."
        assert remarks(brought) == [
            "Left out: 1 pictures and other files.",
            "Left out: 2 calls and answers of tools.",
            "Left out: 1 messages without words.",
            "1 later messages of the system now stand at the end of the system prompt.",
        ]


def test_lines_of_a_file_for_fine_tuning_come_in_one_by_one(bring):
    line = json.dumps({"messages": OPENAI[:2]})
    assert bring(f"{line}\n\n{line}\n{line}".encode())[0].count == 3


def test_a_large_file_is_read_in_another_process_to_the_same(bring, exchange, monkeypatch):
    file = "".join(exchange.json_pieces(ANN, bring([chatgpt()])[1].id)).encode()
    monkeypatch.setattr(reading, "MAX_HERE", 0)
    brought, talk = bring([OPEN_WEBUI, chatgpt(update_time=1_800_000_000)])
    assert (brought.count, talk.said[-1]) == (2, "A swan.")
    assert talk.path()[1].siblings == 2
    assert "Left out: 2 calls and answers of tools." in remarks(brought)
    assert bring(file)[1].said == talk.said
    with pytest.raises(BadRequest, match="Taken are the exports"):
        bring(b"[{}]")
    with pytest.raises(BadRequest, match="role"):
        bring(file.replace(b'"role":"user"', b'"role":"duck"'))


def test_a_file_that_takes_too_much_is_refused(bring, monkeypatch):
    monkeypatch.setattr(reading, "PROCESS_BYTES", 1)
    with pytest.raises(BadRequest, match="too much memory or time"):
        list(reading._from_lines([b'["found", {"left_out": {}}]\n']))


FOUND = b'["found", {"title": "t", "leaf": "a"}]'
SAID = b'["said", {"id": "a", "parent": null, "role": "user", "content": "hi"}]'


@pytest.mark.parametrize(
    "lines",
    [
        [b"cos\nabort\n(tR."],
        [b'["found", {"left_out": {}, "path": "/etc"}]'],
        [b'["found", {"said": "words"}]'],
        [SAID],
        [FOUND, SAID.replace(b"null", b'"z"')],
        [FOUND, SAID.replace(b'"a"', b'"b"'), b'["end", null]'],
        [FOUND, SAID.replace(b'"hi"', b"[]")],
        [b'["message", [0, {}]]'],
        [b'["own", {"lanes": [{}]}]', b'["end", null]'],
        [b'["own", {}]'],
        [b'["error", {"template": "{a:>999999999}", "values": {"a": 1}}]'],
        [b'["unheard of", 1]'],
        [b"[" * 100_000],
    ],
)
def test_what_the_other_process_should_not_say_is_refused(lines):
    good = list(reading._from_lines([FOUND, SAID, b'["end", null]']))
    assert [each.said[0].content for each in good] == ["hi"]
    with pytest.raises(UnreadableAnswer):
        list(reading._from_lines(lines))


def test_large_files_are_read_one_at_a_time(bring, monkeypatch):
    monkeypatch.setattr(reading, "TURN_SECONDS", 0)
    data = zip_files(a_json=json.dumps([chatgpt()]))
    with reading._SLOTS.take("other"), pytest.raises(Busy, match="Try again in a minute"):
        bring(data)
    assert bring(data)[0].count == 1


def test_a_conversation_that_is_too_long_is_left_out_and_told(bring):
    long = [{"role": "user", "content": "x"}] * (MAX_TREE + 1)
    brought, talk = bring([{"messages": long}, {"messages": OPENAI[:2]}])
    assert (brought.count, talk.said) == (1, ["hi"])
    assert remarks(brought)[-1] == "Left out: 1 conversations of more than 10000 messages."
    with pytest.raises(BadRequest, match="more than 10000 messages"):
        bring([{"messages": long}])


def test_a_guest_s_room_is_filled_and_the_rest_is_told(bring, settings):
    settings.change(guest_conversations=2)
    brought, _ = bring([{"messages": OPENAI[:2]}] * 5, "guest-1")
    assert brought.count == 2
    assert remarks(brought)[-1].startswith("Left out: 3 conversations, for which there is no room")


def test_values_of_any_kind_are_no_error(bring):
    strange = [None, 7, "x", [], {}, [None], {"x": None}, 1e300, -1, True, "9" * 300, 10**30]
    for form in (chatgpt(), OPEN_WEBUI, CLAUDE, {"messages": OPENAI}, {"conversations": GPT}):
        for path in _paths(form):
            for value in strange:
                changed = json.loads(json.dumps(form))
                inside = changed
                for name in path[:-1]:
                    inside = inside[name]
                inside[path[-1]] = value
                found = read_conversation(changed)
                assert found is None or all(each.content for each in found.said)


def _paths(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, each in items:
        yield (*path, name)
        if isinstance(each, dict | list):
            yield from _paths(each, (*path, name))


def test_a_json_file_beyond_the_limit_says_what_to_do(bring):
    with pytest.raises(BadRequest, match="Pack it into a zip"):
        bring(b" " * (MAX_FILE + 1))


def test_fragments_of_deepseek_s_tree_are_questions_thoughts_and_answers():
    def fragments(*pairs):
        return {"fragments": [{"type": kind, "content": words} for kind, words in pairs]}

    found = read_conversation(
        {
            "title": "T",
            "mapping": {
                "root": {"parent": None, "children": ["1"], "message": None},
                "1": {"parent": "root", "children": ["2"], "message": fragments(("REQUEST", "hi"))},
                "2": {"parent": "1", "children": [], "message": fragments(
                    ("THINK", "hm"), ("SEARCH", None), ("RESPONSE", "yo"))},
            },
        }
    )  # fmt: skip
    assert [(each.role, each.content) for each in found.said] == [
        ("user", "hi"), ("assistant", "yo"),
    ]  # fmt: skip
    assert found.left_out == {"thoughts": 1, "tools": 1}


def test_nothing_of_a_list_of_messages_is_lost_unsaid():
    found = read_conversation(
        {
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "narrator", "content": "It rains."},
                {"role": "user", "content": [{"type": "text", "text": {"value": "hi"}}]},
            ],
        }
    )
    assert found.system_prompt == "Be brief."
    assert [each.content for each in found.said] == ["hi"]
    assert found.left_out == {"others": 1}


def messages_of(data) -> list[tuple]:
    found = read_conversation(data)
    return [(each.id, each.parent, each.role, each.content) for each in found.said]


def test_messages_that_say_what_they_follow_keep_their_branches():
    # As the page of llama.cpp exports them: two answers to one question are no one answer.
    root = {"id": "0", "type": "root", "role": "system", "content": "", "parent": None,
            "children": ["1"]}  # fmt: skip
    llama = {
        "conv": {"id": "c", "name": "Ducks", "currNode": "2"},
        "messages": [
            root,
            {"id": "1", "role": "user", "content": "How big?", "parent": "0"},
            {"id": "2", "role": "assistant", "content": "Small.", "parent": "1"},
            {"id": "3", "role": "assistant", "content": "Half a metre.", "parent": "1"},
        ],
    }
    answers = [("1", None, "user", "How big?"), ("2", "1", "assistant", "Small."),
               ("3", "1", "assistant", "Half a metre.")]  # fmt: skip
    assert messages_of(llama) == answers
    assert (read_conversation(llama).title, read_conversation(llama).leaf) == ("Ducks", "2")
    # LibreChat's, in a row or each within the one that it follows.
    librechat = [
        {"messageId": "1", "parentMessageId": "00000000-0000-0000-0000-000000000000",
         "sender": "User", "text": "How big?", "isCreatedByUser": True},
        {"messageId": "2", "parentMessageId": "1", "sender": "GPT-4", "text": "Small.",
         "isCreatedByUser": False, "model": "gpt-4"},
        {"messageId": "3", "parentMessageId": "1", "sender": "GPT-4", "text": "",
         "content": [{"type": "think", "think": "Hm."}, {"type": "text", "text": "Half a metre."}],
         "isCreatedByUser": False},
    ]  # fmt: skip
    assert messages_of({"title": "T", "messages": librechat}) == answers
    folded = [{**librechat[0], "children": [{**each, "children": []} for each in librechat[1:]]}]
    assert messages_of({"title": "T", "recursive": True, "messages": folded}) == answers


def test_conversations_of_local_programs_come_in():
    def block(words: str, **style) -> dict:
        return {"type": "contentBlock", "content": [{"type": "text", "text": words}], **style}

    answer = {"type": "multiStep", "role": "assistant", "senderInfo": {"senderName": "qwen3"},
              "steps": [block("Hm.", style={"type": "thinking"}), block("Small.")]}  # fmt: skip
    lm_studio = {
        "name": "Ducks",
        "systemPrompt": "Be brief.",
        "messages": [
            {"versions": [{"type": "singleStep", "role": "user",
                           "content": [{"type": "text", "text": "How big?"}]}]},
            {"versions": [{**answer, "steps": [block("Big.")]}, answer], "currentlySelected": 1},
        ],
    }  # fmt: skip
    found = read_conversation(lm_studio)
    assert [(each.content, each.model) for each in found.said] == [
        ("How big?", None), ("Big.", "qwen3"), ("Small.", "qwen3")]  # fmt: skip
    assert (found.leaf, found.system_prompt) == ("1.1", "Be brief.")
    assert found.left_out == {"thoughts": 1}

    webui = {"internal": [["<|BEGIN-VISIBLE-CHAT|>", "Hello!"], ["How big?", "Small."]]}
    assert [each.content for each in read_conversation(webui).said] == [
        "Hello!", "How big?", "Small."]  # fmt: skip

    chunks = [{"text": "How big?", "role": "user"}, {"driveImage": {"id": "x"}, "role": "user",
              "tokenCount": 3}, {"text": "Hm.", "role": "model", "isThought": True},
              {"text": "Small.", "role": "model"}]  # fmt: skip
    found = read_conversation(
        {"systemInstruction": {"text": "Be brief."}, "chunkedPrompt": {"chunks": chunks}}
    )
    assert [each.content for each in found.said] == ["How big?", "Small."]
    assert (found.system_prompt, found.left_out) == ("Be brief.", {"thoughts": 1, "files": 1})


def test_words_are_found_in_parts_bodies_and_other_fields():
    parts = [{"type": "step-start"}, {"type": "text", "text": "hi"}]
    for data in (
        {"messages": [{"role": "user", "parts": parts}]},  # the AI SDK's
        {"messages": [{"from": "user", "content": "hi"}]},  # HuggingChat's
        {"messages": [{"role": "user", "content": {"text": "hi"}}]},
        {"custom_id": "1", "body": {"messages": [{"role": "user", "content": "hi"}]}},
        {"body": {"x": 1}, "messages": [{"role": "user", "content": "hi"}]},
        {"conversations": [{"role": "user", "content": "hi"}]},  # of data sets for training
    ):
        assert [each.content for each in read_conversation(data).said] == ["hi"]
        assert not read_conversation(data).left_out


def test_what_a_zip_holds_besides_keeps_no_conversation_out(bring):
    files = {"__MACOSX/._conversations-0.json": b"\0\5\x16\7", "conversations-1.json": b"[1, 2",
             "conversations-0.json": json.dumps([chatgpt()]).encode()}  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    brought, talk = bring(buffer.getvalue())
    assert talk.said[-1] == "A swan."
    assert remarks(brought)[-1] == "The file is not JSON: it ends too early, in line 1."


def test_a_file_that_breaks_off_brings_what_came_before_and_says_where(bring):
    data = json.dumps([chatgpt(), chatgpt()]).encode()[:-9]
    brought, _ = bring(data)
    assert brought.count == 1
    assert "ends too early" in remarks(brought)[-1]


def test_texts_of_powershell_are_read_and_other_files_are_told_what_is_taken(bring):
    assert bring(json.dumps([chatgpt()]).encode("utf-16"))[1].said[-1] == "A swan."
    for data in (b"<!DOCTYPE html><p>", b"# Chat", b"role,content\nuser,hi"):
        with pytest.raises(BadRequest, match="Taken are the exports"):
            bring(data)
    with pytest.raises(BadRequest, match="compressed"):
        bring(b"\x1f\x8b\x08\0")


def test_a_message_that_does_not_say_what_it_follows_follows_the_one_before():
    messages = [{"id": "1", "role": "user", "content": "a"},
                {"id": "2", "role": "assistant", "content": "b", "parentId": "1"},
                {"id": "3", "role": "user", "content": "c"}]  # fmt: skip
    found = read_conversation({"messages": messages})
    assert [(each.id, each.parent) for each in found.said] == [("1", None), ("2", "1"), ("3", "2")]
