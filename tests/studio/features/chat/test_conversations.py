"""Conversations: branches that never overwrite one another, seen by their owner only."""

import threading

import pytest

from pipelines.chat.requests import MAX_TEXT
from pipelines.core.errors import BadRequest, Busy, NotFound
from pipelines.core.messages import Message
from studio.core.store import Store
from studio.features.chat.conversation_record import Stale
from studio.features.chat.conversations import Conversations
from tests.studio.features.chat.talk import ANN, BEN, Talk

GUEST = "guest-1"


# --- branches -----------------------------------------------------------------------------------


def test_what_is_said_stands_in_order_and_survives_a_restart(tmp_path, store, settings):
    talk = Talk(Conversations(store, settings))
    talk.turn("How are you?", "Well.")
    talk.turn("And now?", "Still well.")
    store.close()
    again = Store(tmp_path)
    path = Conversations(again, settings).path(ANN, talk.id)
    again.close()
    assert [each.content for each in path] == ["How are you?", "Well.", "And now?", "Still well."]
    assert [each.role for each in path] == ["user", "assistant"] * 2
    assert [each.parent for each in path] == [None, *(each.id for each in path[:-1])]


def test_editing_an_earlier_turn_opens_a_branch_and_keeps_the_old_one(talk):
    question, _ = talk.turn("one", "1")
    talk.turn("two", "2")
    (edited,) = talk.all.edit(ANN, question.id, "uno", talk.revision)
    assert talk.said == ["uno"]
    assert (edited.place, edited.siblings) == (2, 2)
    talk.answer("I")
    assert talk.said == ["uno", "I"]
    talk.all.choose(ANN, question.id, talk.revision)
    assert talk.said == ["one", "1", "two", "2"]


def test_answering_again_puts_another_answer_beside_the_first(talk):
    question, first = talk.turn("one", "1")
    second = talk.answer("eins", question.id)
    third = talk.answer("un", question.id)
    assert talk.said == ["one", "un"]
    assert [(each.place, each.siblings) for each in talk.path()] == [(1, 1), (3, 3)]
    siblings = talk.all.siblings(ANN, first.id)
    assert [each.id for each in siblings] == [first.id, second.id, third.id]
    assert [each.place for each in siblings] == [1, 2, 3]


def test_a_chosen_branch_is_shown_to_its_newest_end(talk):
    _, first = talk.turn("one", "1")
    talk.turn("two", "2")
    old_end = talk.path()[2]
    (edited,) = talk.all.edit(ANN, old_end.id, "deux", talk.revision)
    talk.answer("II")
    talk.answer("another", first.parent)
    assert talk.said == ["one", "another"]
    talk.all.choose(ANN, first.id, talk.revision)
    assert talk.said == ["one", "1", "deux", "II"], "the newest of each fork"
    talk.all.choose(ANN, old_end.id, talk.revision)
    assert talk.said == ["one", "1", "two", "2"]
    assert edited.parent == old_end.parent


def test_an_answer_can_be_edited_and_gone_on_from(talk):
    _, answer = talk.turn("one", "1")
    talk.all.edit(ANN, answer.id, "one!", talk.revision)
    talk.turn("two", "2")
    assert talk.said == ["one", "one!", "two", "2"]


# --- stale pages --------------------------------------------------------------------------------


def changes(talk: Talk, seen: int):
    question, answer = talk.path()[:2]
    return {
        "say": lambda: talk.all.say(ANN, talk.id, "late", seen),
        "edit": lambda: talk.all.edit(ANN, question.id, "late", seen),
        "choose": lambda: talk.all.choose(ANN, answer.id, seen),
        "rename": lambda: talk.all.rename(ANN, talk.id, "late", seen),
        "configure": lambda: talk.all.configure(ANN, talk.id, seen, model="late"),
        "add_lane": lambda: talk.all.add_lane(ANN, talk.id, "late", seen),
        "drop_lane": lambda: talk.all.drop_lane(ANN, talk.id, seen),
        "delete": lambda: talk.all.delete(ANN, talk.id, seen),
        "begin": lambda: talk.written.begin(ANN, talk.id, question.id, seen, "late"),
        "begin by leaf": lambda: talk.written.begin(ANN, talk.id, question.id, None, "late"),
        "resume": lambda: talk.written.resume(ANN, answer.id, None),
    }


@pytest.mark.parametrize("change", [
    "say", "edit", "choose", "rename", "configure", "add_lane", "drop_lane", "delete",
    "begin", "begin by leaf", "resume",
])  # fmt: skip
def test_a_stale_page_changes_nothing(talk, store, change):
    talk.turn("one", "1")
    seen = talk.revision
    talk.turn("two", "2")

    def everything():
        tables = ("conversations", "chat_messages", "chat_pieces")
        return [tuple(row) for name in tables for row in store.rows(f"SELECT * FROM {name}")]

    before = everything()
    with pytest.raises(Stale, match="changed meanwhile"):
        changes(talk, seen)[change]()
    assert everything() == before


def test_of_two_pages_that_say_something_at_once_one_is_stale(talk):
    seen, outcomes = talk.revision, []

    def say(text):
        try:
            talk.all.say(ANN, talk.id, text, seen)
            outcomes.append("said")
        except Stale:
            outcomes.append("stale")

    threads = [threading.Thread(target=say, args=(str(each),)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["said"] + ["stale"] * 7
    assert len(talk.said) == 1


def test_nothing_is_said_into_an_answer_that_is_being_written(talk):
    question = talk.say("one")
    row = talk.written.begin(ANN, talk.id, question.id, None, "parrot")
    with pytest.raises(Busy, match="still being written"):
        talk.say("two")
    with pytest.raises(Busy, match="still being written"):
        talk.written.begin(ANN, talk.id, question.id, None, "parrot")
    talk.written.end(row, "done", {})
    talk.say("two")


# --- the words of an answer ---------------------------------------------------------------------


def test_words_are_seen_before_the_answer_has_ended_and_put_together_after(talk, store):
    row = talk.written.begin(ANN, talk.id, talk.say("count").id, None, "parrot")
    for piece in ("one ", "two\0 ", "🙂 "):
        assert talk.written.add({row: piece}) == set()
    assert talk.said == ["count", "one two\0 🙂 "]
    talk.written.end(row, "stopped", {"completion_tokens": 4}, rest="four")
    answer = talk.path()[-1]
    assert (answer.content, answer.state) == ("one two\0 🙂 four", "stopped")
    assert answer.facts == {"completion_tokens": 4}
    assert store.row("SELECT COUNT(*) FROM chat_pieces")[0] == 0


def test_a_failure_is_kept_with_its_cause(talk):
    talk.say("hello")
    cause = Message("{model} is not there.", model="parrot")
    answer = talk.answer("He", state="failed", error=cause)
    assert (answer.error, answer.content, answer.can_continue) == (cause, "He", True)


def test_words_for_a_deleted_answer_are_told_to_be_gone(talk, store):
    row = talk.written.begin(ANN, talk.id, talk.say("count").id, None, "parrot")
    talk.written.add({row: "one"})
    talk.all.delete(ANN, talk.id)
    assert talk.written.add({row: "two"}) == {row}
    talk.written.end(row, "done", {})
    for table in ("conversations", "chat_messages", "chat_pieces"):
        assert store.row(f"SELECT COUNT(*) FROM {table}")[0] == 0


# --- side by side -------------------------------------------------------------------------------


@pytest.fixture
def pair(conversations):
    """Two lanes of one group: a talk each."""
    first = Talk(conversations, beside=["owl"])
    second = Talk.__new__(Talk)
    second.__dict__ |= first.__dict__
    second.id = conversations.lanes(ANN, first.id)[1].id
    return first, second


def test_what_the_person_says_stands_in_each_lane_and_the_answers_in_their_own(pair):
    first, second = pair
    one, two = first.all.say(ANN, second.id, "hello", first.revision)
    assert (one.conversation, two.conversation) == (first.id, second.id)
    assert one.twin == two.twin
    first.answer("hi")
    second.answer("huhu")
    assert (first.said, second.said) == (["hello", "hi"], ["hello", "huhu"])
    assert first.path()[1].model == "parrot"
    assert second.path()[1].model == "owl"
    assert [each.id for each in first.all.list(ANN)] == [first.id], "the list has a group once"
    assert [each.id for each in first.all.search(ANN, "huhu")] == [first.id]


def test_an_edit_and_a_choice_of_a_question_hold_in_each_lane(pair):
    first, second = pair
    question = first.say("one")
    first.answer("1")
    second.answer("uno")
    assert len(first.all.edit(ANN, question.id, "two", first.revision)) == 2
    assert (first.said, second.said) == (["two"], ["two"])
    first.all.choose(ANN, question.id, first.revision)
    assert (first.said, second.said) == (["one", "1"], ["one", "uno"])
    assert first.revision == second.revision


def test_a_lane_is_added_with_what_is_shown_and_shares_what_comes(talk):
    question, _ = talk.turn("one", "1")
    talk.answer("I", question.id)
    lane = talk.all.add_lane(ANN, talk.id, "owl", talk.revision)
    assert [each.content for each in talk.all.path(ANN, lane.id)] == ["one", "I"]
    assert (lane.model, lane.lane, lane.title) == ("owl", 1, "one")
    assert talk.path()[1].siblings == 2, "the first lane keeps its branches"
    talk.say("two")
    assert talk.all.path(ANN, lane.id)[-1].content == "two"
    (edited, copy) = talk.all.edit(ANN, question.id, "uno", talk.revision)
    assert (edited.conversation, copy.conversation) == (talk.id, lane.id)


def test_at_most_three_stand_side_by_side(conversations, pair):
    first, _ = pair
    conversations.add_lane(ANN, first.id, "third", first.revision)
    with pytest.raises(BadRequest, match="4 models side by side are too many; at most 3 fit"):
        conversations.add_lane(ANN, first.id, "fourth", first.revision)
    with pytest.raises(BadRequest, match="4 models side by side"):
        conversations.new(ANN, "a", beside=["b", "c", "d"])


def test_when_a_lane_is_dropped_the_others_move_up(conversations, pair):
    first, second = pair
    first.say("hello")
    assert [each.id for each in conversations.drop_lane(ANN, first.id, first.revision)] == [
        second.id
    ]
    assert [each.id for each in conversations.list(ANN)] == [second.id]
    assert second.said == ["hello"]
    with pytest.raises(NotFound):
        conversations.get(ANN, first.id)
    with pytest.raises(BadRequest, match="stands alone"):
        conversations.drop_lane(ANN, second.id, second.revision)


# --- settings -----------------------------------------------------------------------------------


def test_a_conversation_keeps_what_was_chosen_and_nothing_else(conversations):
    chosen = {"temperature": 0.5, "top_k": None, "stop": ("END",), "seed": 7}
    talk = Talk(conversations, sampling=chosen, system_prompt="Be brief.")
    assert talk.now.sampling == {"temperature": 0.5, "stop": ["END"], "seed": 7}
    conversations.configure(ANN, talk.id, talk.revision, model="owl")
    now = talk.now
    assert (now.model, now.system_prompt, now.sampling["seed"]) == ("owl", "Be brief.", 7)
    conversations.configure(ANN, talk.id, talk.revision, sampling={}, system_prompt="")
    assert (talk.now.sampling, talk.now.system_prompt) == ({}, "")


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        ({"temperature": -1}, "Temperature is -1; it must be at least 0"),
        ({"temperature": float("nan")}, "Temperature is nan"),
        ({"max_new_tokens": 0}, "Longest answer is 0; it must be at least 1"),
        ({"max_new_tokens": 10**9}, "Longest answer is 1000000000; it must be at most"),
        ({"stop": ["x"] * 100}, "Stop strings"),
        ({"messages": []}, "There is no setting called messages"),
    ],
)
def test_a_bad_setting_is_refused_by_a_sentence(talk, sampling, sentence):
    before = talk.now
    with pytest.raises(BadRequest, match=sentence):
        talk.all.configure(ANN, talk.id, talk.revision, sampling=sampling)
    assert talk.now == before
    with pytest.raises(BadRequest, match=sentence):
        talk.all.new(ANN, "parrot", sampling=sampling)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The message is empty"),
        (" \n", "The message is empty"),
        ("x" * (MAX_TEXT + 1), f"Message has {MAX_TEXT + 1} characters; at most {MAX_TEXT}"),
        ("half an emoji \ud83d", "Message cannot be"),
    ],
)
def test_a_message_that_cannot_be_sent_changes_nothing(talk, text, sentence):
    with pytest.raises(BadRequest, match=sentence):
        talk.say(text)
    assert (talk.said, talk.revision) == ([], 0)


def test_a_guest_may_keep_so_many_conversations_and_no_more(conversations, settings):
    settings.change(guest_conversations=2)
    talks = [Talk(conversations, GUEST, beside=["owl"]) for _ in range(2)]
    with pytest.raises(Busy, match="You keep 2 conversations; a guest may keep 2"):
        conversations.new(GUEST, "parrot")
    for _ in range(3):
        conversations.new(ANN, "parrot")
    conversations.delete(GUEST, talks[0].id)
    conversations.new(GUEST, "parrot")


def test_a_guests_words_count_towards_the_quota_until_they_are_deleted(conversations, settings):
    settings.change(guest_quota_mb=1)
    talk = Talk(conversations, GUEST)
    talk.turn("x" * 300_000, "é" * 350_000)
    with pytest.raises(Busy, match=r"take 1\.[01] MB; a guest may keep 1\.0 MB"):
        talk.say("more")
    conversations.delete_all(GUEST)
    Talk(conversations, GUEST).say("more")


# --- owners -------------------------------------------------------------------------------------


def test_another_owner_finds_nothing_anywhere(talk):
    question, answer = talk.turn("mine", "yours")
    row = talk.written.begin(ANN, talk.id, question.id, None, "parrot")
    talk.written.end(row, "stopped", {})
    revision, all_, id = talk.revision, talk.all, talk.id
    for attempt in (
        lambda: all_.get(BEN, id),
        lambda: all_.lanes(BEN, id),
        lambda: all_.path(BEN, id),
        lambda: all_.message(BEN, answer.id),
        lambda: all_.siblings(BEN, answer.id),
        lambda: all_.configure(BEN, id, revision, model="owl"),
        lambda: all_.rename(BEN, id, "his", revision),
        lambda: all_.add_lane(BEN, id, "owl", revision),
        lambda: all_.drop_lane(BEN, id, revision),
        lambda: all_.delete(BEN, id, revision),
        lambda: all_.say(BEN, id, "hello", revision),
        lambda: all_.edit(BEN, question.id, "hello", revision),
        lambda: all_.choose(BEN, answer.id, revision),
        lambda: talk.written.begin(BEN, id, question.id, revision, "parrot"),
        lambda: talk.written.resume(BEN, row, revision),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert all_.list(BEN) == []
    assert all_.delete_all(BEN) == 0
    assert talk.revision == revision
    assert talk.said == ["mine", ""]


@pytest.mark.parametrize("id", ["", "\ud800", "'; DROP TABLE conversations; --", None, 7, "é"])
def test_a_strange_id_is_not_found(talk, id):
    with pytest.raises(NotFound):
        talk.all.get(ANN, id)
    with pytest.raises(NotFound):
        talk.all.message(ANN, id)


def test_a_message_of_another_conversation_is_not_answered_in_this_one(conversations):
    one, two = Talk(conversations), Talk(conversations)
    question = one.say("hello")
    two.say("hello")
    with pytest.raises(Stale):
        two.written.begin(ANN, two.id, question.id, two.revision, "parrot")


def test_all_of_mine_is_deleted_and_nothing_of_others(conversations, store):
    for _ in range(3):
        Talk(conversations, beside=["owl"]).turn("x", "y")
    other = Talk(conversations, BEN)
    other.turn("keep", "this")
    assert conversations.delete_all(ANN) == 3
    assert conversations.list(ANN) == []
    assert other.said == ["keep", "this"]
    assert store.row("SELECT COUNT(*) FROM chat_messages")[0] == 2
