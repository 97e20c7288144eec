"""How many answers an owner may have at a time, and that nobody finds another's."""

import threading
from pathlib import Path

import pytest

from pipelines.core.errors import Busy, NotFound
from tests.patience import wait_until
from tests.studio.features.chat.answering import ASK, GUEST, ask, count_unfinished
from tests.studio.features.chat.talk import ANN, BEN, Talk

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(("owner", "limit"), [(GUEST, 3), (ANN, 16)])
def test_an_owner_has_so_many_unfinished_answers_and_no_more(
    silent_answers, conversations, owner, limit
):
    talks = [Talk(conversations, owner) for _ in range(limit)]
    rows = [ask(silent_answers, talk) for talk in talks]
    one_more = Talk(conversations, owner)
    question = one_more.say("hello")
    with pytest.raises(Busy, match=f"{limit} answers are being written for you; {limit} are"):
        silent_answers.start(owner, one_more.id, question.id)
    with pytest.raises(Busy):
        silent_answers.stream(ASK, owner, threading.Event())
    assert one_more.said == ["hello"]
    silent_answers.stop(owner, rows[0])
    wait_until(lambda: count_unfinished(silent_answers, owner) == limit - 1)
    silent_answers.start(owner, one_more.id, question.id)
    assert ask(silent_answers, Talk(conversations, BEN))


def test_all_together_have_32_unfinished_answers_and_no_more(silent_answers, conversations):
    streams = [silent_answers.stream(ASK, f"owner{at // 8}", threading.Event()) for at in range(32)]
    talk = Talk(conversations)
    question = talk.say("hello")
    with pytest.raises(Busy, match="32 answers are being written in this studio; 32 are allowed"):
        silent_answers.start(ANN, talk.id, question.id)
    streams[0].close()
    silent_answers.start(ANN, talk.id, question.id)


def test_a_guest_beyond_the_quota_gets_no_more_answers(answers, conversations, settings):
    settings.change(guest_quota_mb=1)
    talk = Talk(conversations, GUEST)
    question, _ = talk.turn("x" * 300_000, "y" * 700_000)
    with pytest.raises(Busy, match=r"a guest may keep 1\.0 MB"):
        answers.start(GUEST, talk.id, question.id)


def test_another_owner_finds_no_answer(silent_answers, talk):
    question = talk.say("hello")
    row = silent_answers.start(ANN, talk.id, question.id)
    for attempt in (
        lambda: silent_answers.start(BEN, talk.id, question.id),
        lambda: silent_answers.continue_(BEN, row),
        lambda: silent_answers.stop(BEN, row),
        lambda: silent_answers.live(BEN, row),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert silent_answers.live(ANN, row) is not None
    assert count_unfinished(silent_answers) == 1
