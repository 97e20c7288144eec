"""How many answers an owner may have at a time, and that nobody finds another's."""

import threading
from pathlib import Path

import pytest

from pipelines.core.errors import Busy, NotFound
from tests.patience import wait_until
from tests.studio.features.chat.answering import ASK, GUEST, asked, count_unfinished
from tests.studio.features.chat.talk import ANN, BEN, Talk

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(("owner", "limit"), [(GUEST, 3), (ANN, 16)])
def test_an_owner_has_so_many_unfinished_answers_and_no_more(held, conversations, owner, limit):
    talks = [Talk(conversations, owner) for _ in range(limit)]
    rows = [asked(held, talk) for talk in talks]
    one_more = Talk(conversations, owner)
    question = one_more.say("hello")
    with pytest.raises(Busy, match=f"{limit} answers are being written for you; {limit} are"):
        held.start(owner, one_more.id, question.id)
    with pytest.raises(Busy):
        held.stream(ASK, owner, threading.Event())
    assert one_more.said == ["hello"]
    held.stop(owner, rows[0])
    wait_until(lambda: count_unfinished(held, owner) == limit - 1)
    held.start(owner, one_more.id, question.id)
    assert asked(held, Talk(conversations, BEN))


def test_all_together_have_32_unfinished_answers_and_no_more(held, conversations):
    streams = [held.stream(ASK, f"owner{at // 8}", threading.Event()) for at in range(32)]
    talk = Talk(conversations)
    question = talk.say("hello")
    with pytest.raises(Busy, match="32 answers are being written in this studio; 32 are allowed"):
        held.start(ANN, talk.id, question.id)
    streams[0].close()
    held.start(ANN, talk.id, question.id)


def test_a_guest_beyond_the_quota_gets_no_more_answers(answers, conversations, settings):
    settings.change(guest_quota_mb=1)
    talk = Talk(conversations, GUEST)
    question, _ = talk.turn("x" * 300_000, "y" * 700_000)
    with pytest.raises(Busy, match=r"a guest may keep 1\.0 MB"):
        answers.start(GUEST, talk.id, question.id)


def test_another_owner_finds_no_answer(held, talk):
    question = talk.say("hello")
    row = held.start(ANN, talk.id, question.id)
    for attempt in (
        lambda: held.start(BEN, talk.id, question.id),
        lambda: held.continue_(BEN, row),
        lambda: held.stop(BEN, row),
        lambda: held.live(BEN, row),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert held.live(ANN, row) is not None
    assert count_unfinished(held) == 1
