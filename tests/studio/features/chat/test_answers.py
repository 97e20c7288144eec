"""Answers: written beside the queue, kept as they come, stopped and gone on with."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.chat.events import Reading, Words
from pipelines.chat.requests import MAX_MESSAGES
from pipelines.core.errors import BadRequest, Refused, Unavailable
from pipelines.core.events import Progress
from studio.core.home import disk_full
from studio.core.settings import StoredSettings
from studio.core.store import Store
from studio.features.chat.answers import answers as answers_module
from studio.features.chat.answers import progress as live_module
from studio.features.chat.answers.answers import Answers
from studio.features.chat.answers.progress import AnswerProgress
from studio.features.chat.conversation_record import Stale
from studio.features.chat.conversations import Conversations
from tests.clock import set_clock
from tests.patience import PATIENCE, PROMPTLY, wait_until
from tests.studio.features.chat.answering import ASK, ask, count_unfinished, wait_for_end
from tests.studio.features.chat.parrot import Parrot
from tests.studio.features.chat.talk import ANN, BEN, Talk

ROOT = Path(__file__).parents[4]


# --- to the end ---------------------------------------------------------------------------------


def test_an_answer_is_written_to_its_end_with_the_engines_facts(answers, talk, store):
    answer = wait_for_end(talk, ask(answers, talk))
    assert (answer.content, answer.state, answer.model) == ("a b c", "done", "parrot")
    assert (answer.facts["completion_tokens"], answer.error) == (3, None)
    assert talk.said == ["hello", "a b c"]
    wait_until(lambda: answers.live(ANN, answer.id) is None)
    wait_until(lambda: count_unfinished(answers) == 0)
    assert [each.id for each in talk.all.search(ANN, "A B C")] == [talk.id]
    assert store.row("SELECT COUNT(*) FROM chat_pieces")[0] == 0


def test_the_engine_is_asked_with_prompt_path_and_choices(answers, parrot, conversations):
    chosen = {"temperature": 0.5, "top_p": 0.9, "seed": 3}
    talk = Talk(conversations, system_prompt="Be brief.", sampling=chosen)
    wait_for_end(talk, ask(answers, talk, "one"))
    wait_for_end(talk, ask(answers, talk, "two", temperature=1.5, top_p=None))
    request = parrot.requests[1]
    assert [(each.role, each.content) for each in request.messages] == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "a b c"), ("user", "two"),
    ]  # fmt: skip
    assert (request.temperature, request.top_p, request.top_k) == (1.5, None, None)
    assert (request.seed, request.model, request.continue_last) == (3, "parrot", False)
    assert talk.now.sampling == chosen, "overrides hold once"


def test_an_answer_that_never_came_is_not_sent_to_the_model(answers, parrot, talk):
    talk.say("one")
    talk.answer("", state="failed")
    wait_for_end(talk, ask(answers, talk, "two"))
    assert [each.content for each in parrot.requests[0].messages] == ["one", "two"]


def test_of_a_conversation_longer_than_a_request_the_newest_turns_are_sent(
    answers, parrot, conversations, talk, store
):
    talk.turn("one", "1")
    last = talk.now.leaf
    with store.transaction() as connection:  # as many turns as nobody types
        connection.executemany(
            "INSERT INTO chat_messages (id, conversation, twin, parent, role, content, words, "
            "state, created) VALUES (?1, ?2, ?1, ?3, ?4, ?1, ?1, 'done', 1)",
            [
                (f"m{at}", talk.id, f"m{at - 1}" if at else last, ("user", "assistant")[at % 2])
                for at in range(2 * MAX_MESSAGES)
            ],
        )
        leaf = f"m{2 * MAX_MESSAGES - 1}"
        connection.execute("UPDATE conversations SET leaf = ?, system_prompt = 'Hm.'", (leaf,))
    answer = wait_for_end(talk, ask(answers, talk, "last"))
    sent = parrot.requests[0].messages
    assert [each.role for each in sent[:2]] == ["system", "user"]
    assert MAX_MESSAGES - 1 <= len(sent) <= MAX_MESSAGES
    assert answer.facts["dropped"] == 2 + 2 * MAX_MESSAGES + 1 - (len(sent) - 1)


def test_another_answer_is_put_beside_the_first(answers, talk):
    first = wait_for_end(talk, ask(answers, talk))
    second = wait_for_end(talk, answers.start(ANN, talk.id, first.parent, {"model": "owl"}))
    assert (second.place, second.siblings, second.model) == (2, 2, "owl")
    assert talk.now.model == "parrot"


# --- while it is written ------------------------------------------------------------------------


def test_a_watcher_sees_the_phases_without_the_database(conversations, talk):
    parrot = Parrot(["Hé", "", "llo "], held=True)
    answers = Answers(conversations, parrot.run, None)
    row = ask(answers, talk)
    live = answers.live(ANN, row)
    wait_until(lambda: live.view().phase == "reading")
    view = live.view()
    assert (view.read, view.to_read, view.text, view.tokens) == (7, 7, "", 0)
    assert view.first_token_seconds is None
    parrot.allow(2)
    wait_until(lambda: live.view().tokens == 2)
    view = live.view()
    assert (view.phase, view.text, view.characters) == ("writing", "Hé", 2)
    assert 0 <= view.first_token_seconds < PATIENCE
    version = live.version
    assert not live.wait(version, 0.05), "nothing is new"
    parrot.allow(1)
    assert live.wait(version, PATIENCE)
    assert live.view(since=2).text == "llo "
    wait_until(lambda: live.ended)
    assert live.text == "Héllo "
    assert wait_for_end(talk, row).content == "Héllo "
    answers.close()


def test_the_words_of_a_model_that_stalls_are_kept(conversations, talk):
    parrot = Parrot(["one ", "two ", "three"], held=True)
    answers = Answers(conversations, parrot.run, None)
    row = ask(answers, talk)
    live = answers.live(ANN, row)
    for count, said in ((1, "one "), (1, "one two ")):
        parrot.allow(count)
        wait_until(lambda said=said: live.text == said)
        wait_until(lambda said=said: talk.all.message(ANN, row).content == said)
    assert talk.all.message(ANN, row).state == "streaming"
    answers.close()


def test_ten_answers_are_written_at_once(conversations):
    parrot = Parrot([f"{at} " for at in range(20)], held=True)
    answers = Answers(conversations, parrot.run, None)
    talks = [Talk(conversations, f"owner{at}") for at in range(10)]
    rows = [ask(answers, talk) for talk in talks]
    wait_until(lambda: parrot.together == 10)
    assert count_unfinished(answers) == 10
    parrot.allow(200)
    for talk, row in zip(talks, rows, strict=True):
        assert wait_for_end(talk, row).content == "".join(parrot.words)
    answers.close()


def test_neither_adding_words_nor_asking_for_the_new_ones_touches_the_old_ones():
    live, seen, said = AnswerProgress(), 0, 0
    start = time.monotonic()
    for _ in range(100_000):  # 1 MB: touching all of it each time would take minutes
        live.saw(Words("0123456789", 1))
        view = live.view(since=seen)
        said += len(view.text)
        seen = view.characters
    assert said == seen == len(live.text) == 1_000_000
    assert time.monotonic() - start < PROMPTLY


def test_times_and_speed_are_those_of_reading_and_writing_not_of_loading(monkeypatch):
    now = [0.0]
    set_clock(monkeypatch, live_module, monotonic=lambda: now[0])
    live = AnswerProgress()

    def at(moment, event):
        now[0] = moment
        live.saw(event)
        return live.view()

    at(5, Progress(1, 2))
    assert live.view().phase_seconds == 5
    at(20, Reading(0, 9))
    assert at(21, Reading(9, 9)).phase_seconds == 1
    view = at(22, Words("", 1))
    assert (view.first_token_seconds, view.tokens_per_second) == (2, None)
    for tenth in range(1, 100):  # from 22 to 32, ten tokens a second
        view = at(22 + tenth / 10, Words("x", 1))
    assert view.tokens_per_second == pytest.approx(10, rel=0.05)
    now[0] = 33.4  # a second and a half without any: half of the window is empty
    assert live.view().tokens_per_second == pytest.approx(5, rel=0.1)
    assert live.facts() == {
        "prompt_tokens": 9,
        "completion_tokens": 100,
        "first_token_seconds": 2,
        "seconds": pytest.approx(9.9),
        "tokens_per_second": pytest.approx(100 / 9.9),
    }


def test_words_are_asked_for_from_any_character_on():
    live = AnswerProgress("begun ")
    for piece in ("ab", "cde", "f"):
        live.saw(Words(piece, 1))
    whole = "begun abcdef"
    for since in range(-1, len(whole) + 2):
        assert live.view(since).text == whole[max(0, since) :]


# --- stopping and going on ----------------------------------------------------------------------


def test_stopping_stops_the_computing_within_one_token_and_keeps_the_words(conversations, talk):
    parrot = Parrot(["x "] * 1000, seconds=0.01)
    answers = Answers(conversations, parrot.run, None)
    row = ask(answers, talk)
    wait_until(lambda: parrot.made >= 5)
    answers.stop(ANN, row)
    made = parrot.made
    answer = wait_for_end(talk, row)
    assert parrot.made <= made + 1
    assert answer.state == "stopped"
    assert made - 1 <= answer.content.count("x ") <= made + 1
    assert answer.facts["completion_tokens"] == answer.content.count("x ")
    answers.stop(ANN, row)  # it has ended; that is no error
    answers.close()


def test_a_stopped_answer_is_gone_on_with_in_its_place(conversations, talk):
    parrot = Parrot(["one ", "two "], held=True)
    answers = Answers(conversations, parrot.run, None)
    row = ask(answers, talk)
    parrot.allow(1)
    wait_until(lambda: answers.live(ANN, row).text)
    answers.stop(ANN, row)
    assert wait_for_end(talk, row).content == "one "
    parrot.held = False
    assert answers.continue_(ANN, row, revision=talk.revision) == row
    answer = wait_for_end(talk, row)
    assert (answer.content, answer.state) == ("one one two ", "done")
    request = parrot.requests[1]
    assert request.continue_last
    assert [each.content for each in request.messages] == ["hello", "one "]
    assert answer.facts["completion_tokens"] == 1 + 2
    assert talk.said == ["hello", "one one two "]
    answers.close()


def test_an_answer_that_was_stopped_before_its_first_word_is_begun_again(conversations, talk):
    parrot = Parrot(held=True)
    answers = Answers(conversations, parrot.run, None)
    row = ask(answers, talk)
    answers.stop(ANN, row)
    assert wait_for_end(talk, row).content == ""
    parrot.held = False
    answers.continue_(ANN, row)
    assert wait_for_end(talk, row).content == "a b c"
    assert not parrot.requests[1].continue_last
    answers.close()


def test_a_cut_answer_is_gone_on_with_and_a_complete_one_is_not(answers, talk, parrot):
    cut = wait_for_end(talk, ask(answers, talk))
    answers.continue_(ANN, cut.id)
    assert wait_for_end(talk, cut.id).content == "a b ca b c"
    wait_until(lambda: count_unfinished(answers) == 0)
    talk.say("more")
    complete = talk.answer("all", facts={"finish_reason": "stop"})
    with pytest.raises(BadRequest, match="This answer is complete"):
        answers.continue_(ANN, complete.id)
    with pytest.raises(Stale):
        answers.continue_(ANN, cut.id)
    assert count_unfinished(answers) == 0
    assert len(parrot.requests) == 2


def test_an_answer_whose_conversation_is_deleted_is_not_computed_on(conversations, talk):
    parrot = Parrot(["x "] * 1000, seconds=0.01)
    answers = Answers(conversations, parrot.run, None)
    ask(answers, talk)
    wait_until(lambda: parrot.made >= 2)
    conversations.delete(ANN, talk.id)
    wait_until(lambda: parrot.ended == 1)
    assert parrot.made < 200
    wait_until(lambda: count_unfinished(answers) == 0)
    answers.close()


def test_closing_interrupts_what_is_written_and_keeps_its_words(conversations, talk):
    parrot = Parrot(["one ", "two "], held=True)
    answers = Answers(conversations, parrot.run, None)
    row = ask(answers, talk)
    parrot.allow(1)
    wait_until(lambda: answers.live(ANN, row).text)
    answers.close()
    answer = talk.all.message(ANN, row)
    assert (answer.content, answer.state, answer.can_continue) == ("one ", "interrupted", True)
    with pytest.raises(Unavailable, match="is closing"):
        answers.continue_(ANN, row)
    assert talk.all.message(ANN, row).state == "interrupted"


PROGRAM = """
import sys, time
from pathlib import Path
from studio.features.chat.answers.answers import Answers
from studio.features.chat.conversations import Conversations
from studio.core.settings import StoredSettings
from studio.core.store import Store
from tests.studio.features.chat.parrot import Parrot
from tests.studio.features.chat.talk import Talk
store = Store(Path(sys.argv[1]))
conversations = Conversations(store, StoredSettings(store))
talk = Talk(conversations)
answers = Answers(conversations, Parrot([f"{at} " for at in range(10_000)], seconds=0.01).run, None)
row = answers.start("ann", talk.id, talk.say("count").id)
live = answers.live("ann", row)
while True:
    print(len(conversations.message("ann", row).content.split()), flush=True)
    time.sleep(0.05)
"""


def test_after_kill_9_the_words_are_there_up_to_the_last_that_were_kept(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    kept = 0
    while kept < 100:
        kept = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    for line in process.stdout:
        kept = int(line)
    process.stdout.close()

    store = Store(tmp_path)
    conversations = Conversations(store, StoredSettings(store))
    (conversation,) = conversations.list(ANN)
    assert conversations.path(ANN, conversation.id)[-1].state == "streaming"
    answers = Answers(conversations, Parrot(["on"]).run, None)
    answer = conversations.path(ANN, conversation.id)[-1]
    assert answer.state == "interrupted"
    words = answer.content.split()
    assert words == [str(at) for at in range(len(words))], "whole and in order"
    assert len(words) >= kept, "what stood there once"
    assert [each.id for each in conversations.search(ANN, "99")] == [conversation.id]
    answers.continue_(ANN, answer.id)
    wait_until(lambda: conversations.message(ANN, answer.id).state == "done")
    assert conversations.message(ANN, answer.id).content == answer.content + "on"
    answers.close()
    store.close()


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "sentence", "content"),
    [
        ("load", "The file x of parrot is not there.", ""),
        ("bug", "ZeroDivisionError: no feathers", ""),
        ("no result", "RuntimeError: the chat engine ended without a result", "a b c"),
    ],
)
def test_the_true_cause_of_a_failure_stands_in_the_answer(
    answers, parrot, talk, failure, sentence, content
):
    parrot.failure = failure
    answer = wait_for_end(talk, ask(answers, talk))
    assert (answer.state, str(answer.error), answer.content) == ("failed", sentence, content)
    wait_until(lambda: count_unfinished(answers) == 0)
    parrot.failure = ""
    answers.continue_(ANN, answer.id)
    assert (wait_for_end(talk, answer.id).content, wait_for_end(talk, answer.id).error) == (
        content + "a b c",
        None,
    )


def test_half_an_emoji_from_a_model_does_not_break_the_answer(conversations, talk):
    answers = Answers(conversations, Parrot(["\ud83d", "ok"]).run, None)
    assert wait_for_end(talk, ask(answers, talk)).content == "?ok"
    answers.close()


def test_the_end_of_an_answer_outlives_a_disk_that_is_full_for_a_moment(
    answers, talk, monkeypatch, tmp_path
):
    monkeypatch.setattr(answers_module, "RETRY_SECONDS", 0.01)
    end, tries = answers._written.end, []

    def full_at_first(*values):
        tries.append(values)
        if len(tries) < 3:
            raise disk_full(4096, tmp_path)
        end(*values)

    monkeypatch.setattr(answers._written, "end", full_at_first)
    assert wait_for_end(talk, ask(answers, talk)).content == "a b c"
    assert len(tries) == 3


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"temperature": -1}, "Temperature is -1"),
        ({"messages": []}, "There is no setting called messages"),
        ({"continue_last": True}, "There is no setting called continue_last"),
        ({"max_new_tokens": 0}, "Longest answer is 0"),
    ],
)
def test_a_bad_override_writes_nothing(answers, talk, overrides, sentence):
    question = talk.say("hello")
    revision = talk.revision
    with pytest.raises(BadRequest, match=sentence):
        answers.start(ANN, talk.id, question.id, overrides)
    assert (talk.said, talk.revision, count_unfinished(answers)) == (["hello"], revision, 0)


def test_an_answer_is_not_answered(answers, talk):
    talk.turn("one", "1")
    with pytest.raises(BadRequest):
        answers.start(ANN, talk.id, talk.now.leaf)
    assert (talk.said, count_unfinished(answers)) == (["one", "1"], 0)


def test_what_an_owner_may_not_ask_for_is_refused_before_anything_is_written(conversations, talk):
    def check(owner, request):
        if request.model == "secret" and owner != BEN:
            raise Refused("This model is not yours.")

    answers = Answers(conversations, Parrot().run, None, check)
    question = talk.say("hello")
    with pytest.raises(Refused):
        answers.start(ANN, talk.id, question.id, {"model": "secret"})
    with pytest.raises(Refused):
        answers.stream(ASK.model_copy(update={"model": "secret"}), ANN, threading.Event())
    assert (talk.said, count_unfinished(answers)) == (["hello"], 0)
    assert answers.stream(ASK, ANN, threading.Event())
    answers.close()
