"""Conversations as files: what goes out comes in again, and nothing else does."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.core.errors import BadRequest, Busy, NotFound
from pipelines.core.messages import Message
from studio.features.chat.files.exchange import MAX_FILE, Exchange
from studio.features.chat.tree import MAX_TREE
from tests.patience import PATIENCE
from tests.studio.features.chat.talk import ANN, BEN, Talk


@pytest.fixture
def exchange(store, settings):
    return Exchange(store, settings)


@pytest.fixture
def talk(conversations):
    talk = Talk(conversations, system_prompt="Be brief.", sampling={"temperature": 0.5})
    question, _ = talk.turn("one\n\n```py\nprint('🙂')\n```", "1")
    talk.answer("I", question.id, facts={"completion_tokens": 1, "tokens_per_second": 2.5})
    talk.turn("two", "2")
    return talk


def shape(talk: Talk):
    """The whole tree without its ids: each message with the place of what it follows."""
    rows = talk.all.store.rows(
        "SELECT * FROM chat_messages WHERE conversation = ? ORDER BY number", (talk.id,)
    )
    places = {row["id"]: at for at, row in enumerate(rows)}
    names = ("role", "content", "state", "model", "facts", "created")
    return [(places.get(row["parent"]), *(row[name] for name in names)) for row in rows]


def bring(exchange: Exchange, owner: str, data: bytes):
    """The first of the conversations of a file."""
    return exchange.bring(owner, io.BytesIO(data), len(data)).first


def bring_in(talk: Talk, exchange: Exchange, data: str, owner: str = BEN) -> Talk:
    copy = Talk.__new__(Talk)
    copy.__dict__ |= talk.__dict__ | {"owner": owner}
    copy.id = bring(exchange, owner, data.encode()).id
    return copy


def test_the_whole_tree_comes_in_again_under_new_ids_and_another_owner(talk, exchange, store):
    copy = bring_in(talk, exchange, "".join(exchange.json_pieces(ANN, talk.id)))
    assert shape(copy) == shape(talk)
    assert copy.said == talk.said
    now, before = copy.now, talk.now
    for name in ("title", "model", "system_prompt", "sampling"):
        assert getattr(now, name) == getattr(before, name)
    assert now.owner == BEN
    ids = [row["id"] for row in store.rows("SELECT id FROM chat_messages")]
    assert len(ids) == len(set(ids)) == 2 * len(shape(talk))
    copy.say("three")
    assert talk.said[-1] == "2", "the two have nothing in common"


def test_conversations_side_by_side_come_in_side_by_side(conversations, exchange):
    talk = Talk(conversations, beside=["owl"])
    question = talk.say("hello")
    copy = bring_in(talk, exchange, "".join(exchange.json_pieces(ANN, talk.id)))
    lanes = conversations.lanes(BEN, copy.id)
    assert [lane.model for lane in lanes] == ["parrot", "owl"]
    assert len(conversations.edit(BEN, copy.path()[0].id, "hi", copy.revision)) == 2
    assert conversations.message(ANN, question.id).siblings == 1


def test_markdown_has_what_is_shown(talk, exchange):
    assert "".join(exchange.markdown_pieces(ANN, talk.id)) == (
        "# one\n\n## system\n\nBe brief.\n\n## user\n\none\n\n```py\nprint('🙂')\n```\n\n"
        "## assistant (parrot)\n\nI\n\n## user\n\ntwo\n\n## assistant (parrot)\n\n2\n"
    )


def test_an_answer_that_was_being_written_comes_in_as_interrupted(talk, exchange):
    row = talk.written.begin(ANN, talk.id, talk.say("three").id, None, "parrot")
    talk.written.add({row: "half an ans"})
    answer = bring_in(talk, exchange, "".join(exchange.json_pieces(ANN, talk.id))).path()[-1]
    assert (answer.content, answer.state) == ("half an ans", "interrupted")


def test_an_error_goes_out_as_a_sentence_and_no_template_comes_in(talk, exchange):
    talk.say("three")
    talk.answer("", state="failed", error=Message("{what} broke.", what="It"))
    file = json.loads("".join(exchange.json_pieces(ANN, talk.id)))
    assert file["lanes"][0]["messages"][-1]["error"] == "It broke."
    file["lanes"][0]["messages"][-1]["error"] = "{0:>999999999}"
    answer = bring_in(talk, exchange, json.dumps(file)).path()[-1]
    assert (answer.state, answer.error) == ("failed", None)


@pytest.mark.parametrize("wrap", [list, lambda messages: {"messages": messages, "model": "gpt"}])
def test_a_list_of_openai_messages_comes_in(talk, exchange, wrap):
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}], "name": "Ann"},
        {"role": "assistant", "content": "hi", "refusal": None},
    ]
    copy = bring_in(talk, exchange, json.dumps(wrap(messages)))
    assert (copy.said, copy.now.system_prompt) == (["hello", "hi"], "Be kind.")
    assert (copy.now.title, copy.now.model) == ("hello", "smollm2-135m")


def change_file(**changes):
    message = {"id": "a", "twin": "a", "parent": None, "role": "user", "content": "x",
               "created": 1.0}  # fmt: skip
    lane = {"model": "parrot", "leaf": "a", "messages": [message]}
    whole = {"format": "atelier-conversation", "version": 1, "lanes": [lane]}
    for part in (message, lane, whole):
        part.update({name: changes[name] for name in changes.keys() & FIELDS[id_of(part)]})
    return json.dumps(whole)


def id_of(part):
    return "message" if "parent" in part else "lane" if "leaf" in part else "whole"


FIELDS = {
    "message": {"id", "parent", "role", "content", "created", "facts", "owner"},
    "lane": {"leaf", "messages", "sampling", "model"},
    "whole": {"version", "lanes", "title", "format"},
}
TWICE = [{"id": "a", "twin": "a", "parent": None, "role": "user", "content": "x", "created": 1}] * 2


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON"),
        (b'{"format": "atelier-conv', "not JSON"),
        (b"\xff\xff", "no text in UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "not JSON"),
        (b"null", "messages"),
        (b"[]", "messages"),
        (b"{}", "Taken are the exports of Atelier, ChatGPT"),
        (b'{"messages": "x"}', "Taken are the exports"),
        (b'[{"id": 1}, 2, "x"]', "Taken are the exports"),
        (b"PK\x03\x04 no zip at all", "zip cannot be unpacked"),
        (b'[{"role": "tool", "content": "x"}]', "role"),
        (b'[{"role": "user", "content": [{"type": "image_url"}]}]', "content"),
        (b" " * (MAX_FILE + 1), "The file has 20.000001 MB; at most 20 MB"),
        (change_file(version=2), "version"),
        (change_file(lanes=[]), "lanes"),
        (change_file(leaf="b"), "does not say which message is shown last"),
        (change_file(leaf=None), "does not say which message is shown last"),
        (change_file(parent="a"), "follows a, which does not come before it"),
        (change_file(parent="zzz"), "follows zzz"),
        (change_file(messages=TWICE), "Two messages in the file have the id a"),
        (change_file(messages=TWICE * MAX_TREE), "messages"),
        (change_file(role="system"), "role"),
        (change_file(content=7), "content"),
        (change_file(content="\ud800"), "content"),
        (change_file(created=float("nan")), "created"),
        (change_file(facts={"a": {"b": "c"}}), "facts"),
        (change_file(owner="ann"), "There is no setting called owner"),
        (change_file(sampling={"temperature": 9}), "Temperature is 9; it must be at most 2"),
        (change_file(model="x" * 201), "201 characters; at most 200"),
    ],
)
def test_a_bad_file_is_refused_by_a_sentence_and_leaves_nothing(exchange, store, data, sentence):
    with pytest.raises(BadRequest, match=sentence):
        bring(exchange, ANN, data if isinstance(data, bytes) else data.encode())
    assert store.row("SELECT COUNT(*) FROM conversations")[0] == 0


def test_the_smallest_good_file_is_taken(exchange):
    assert bring(exchange, ANN, change_file().encode()).model == "parrot"
    assert bring(exchange, ANN, b"\xef\xbb\xbf" + change_file(title="A\nB").encode()).title == "A B"


def test_the_largest_tree_comes_in_within_seconds(talk, exchange):
    messages = [
        {"id": str(at), "twin": str(at), "parent": str(at - 1) if at else None, "content": "x",
         "role": ("user", "assistant")[at % 2], "created": 1}
        for at in range(MAX_TREE)
    ]  # fmt: skip
    copy = bring_in(talk, exchange, change_file(messages=messages, leaf=str(MAX_TREE - 1)))
    assert len(copy.said) == MAX_TREE
    with pytest.raises(BadRequest, match=f"has {MAX_TREE} messages"):
        copy.all.edit(BEN, copy.path()[0].id, "y", copy.revision)


def test_a_guest_cannot_bring_in_more_than_the_quota(exchange, settings):
    settings.change(guest_quota_mb=1)
    messages = [{"role": "user", "content": "x" * 350_000}] * 3
    with pytest.raises(Busy, match=r"take 1\.[01] MB; a guest may keep 1\.0 MB"):
        bring(exchange, "guest-1", json.dumps(messages).encode())
    settings.change(guest_conversations=1)
    bring(exchange, "guest-1", json.dumps(messages[:1]).encode())
    with pytest.raises(Busy, match="a guest may keep 1"):
        bring(exchange, "guest-1", json.dumps(messages[:1]).encode())


def test_files_are_made_for_the_owner_only(talk, exchange):
    for write in (exchange.json_pieces, exchange.markdown_pieces):
        with pytest.raises(NotFound):
            list(write(BEN, talk.id))


def test_work_on_a_file_grows_with_its_messages_and_not_with_their_square(talk, exchange, store):
    """Counted in steps of the database's machine: 2,000 answers to one question, then 4,000."""
    steps = []
    for _ in range(2):
        with store.transaction() as connection:
            rows = [(f"m{len(steps)}.{at}",) for at in range(2_000)]
            connection.executemany(
                "INSERT INTO chat_messages (id, conversation, twin, parent, role, content, words, "
                "state, created) SELECT ?1, conversation, ?1, id, 'assistant', 'x', 'x', 'done', 1 "
                f"FROM chat_messages WHERE id = '{talk.path()[0].id}'",
                rows,
            )
        count = [0]

        def tick(count=count):
            count[0] += 1

        with store.snapshot() as connection:
            connection.set_progress_handler(tick, 100)
            "".join(exchange.json_pieces(ANN, talk.id))
            talk.all.siblings(ANN, talk.path()[1].id)
            talk.all.neighbour(ANN, talk.path()[1].id, 1)
            connection.set_progress_handler(None, 0)
        steps.append(count[0])
    assert steps[1] < 2.6 * steps[0]


def test_a_file_is_written_while_others_use_the_database(talk, exchange, store):
    pieces = exchange.json_pieces(ANN, talk.id)
    written = next(pieces) + next(pieces)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(store.row, "SELECT 1").result(PATIENCE)[0] == 1
    assert json.loads(written + "".join(pieces))["lanes"][0]["messages"][0]["content"]
