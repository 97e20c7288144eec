"""Answers that are streamed to the API's clients, and kept nowhere."""

import gc
import threading
from pathlib import Path

import pytest

from pipelines.chat.events import Reading, Words
from pipelines.core.errors import Stopped
from pipelines.core.events import Result
from studio.features.chat.answers.answers import Answers
from tests.patience import PATIENCE, wait_until
from tests.studio.features.chat.answering import ASK, count_unfinished
from tests.studio.features.chat.talk import ANN

ROOT = Path(__file__).parents[4]


def test_a_stream_gives_the_engines_events_and_keeps_nothing(answers, store):
    events = list(answers.stream(ASK, ANN, threading.Event()))
    assert [each.text for each in events if isinstance(each, Words)] == ["a ", "b ", "c"]
    assert isinstance(events[-1], Result)
    assert any(isinstance(each, Reading) for each in events)
    assert count_unfinished(answers) == 0
    assert store.row("SELECT COUNT(*) FROM chat_messages")[0] == 0


def test_a_stream_that_is_stopped_ends_within_one_token(answers, parrot):
    stop = threading.Event()
    parrot.words = ["x"] * 100
    with pytest.raises(Stopped):  # noqa: PT012 - the stop belongs to the reading
        for event in answers.stream(ASK, ANN, stop):
            if isinstance(event, Words):
                stop.set()
    assert (parrot.made, parrot.ended, count_unfinished(answers)) == (1, 1, 0)


@pytest.mark.parametrize("read", [0, 1, 4])
def test_a_stream_that_is_left_gives_its_place_back(answers, parrot, read):
    stream = answers.stream(ASK, ANN, threading.Event())
    assert count_unfinished(answers, ANN) == 1
    for _ in range(read):
        next(stream)
    if read == 1:
        stream.close()
        stream.close()
        assert list(stream) == []
    else:
        del stream
        gc.collect(0)  # of all generations it takes long
    assert count_unfinished(answers) == 0
    assert parrot.together == 0


def test_a_stream_that_fails_gives_its_place_back(answers, parrot):
    parrot.failure = "bug"
    with pytest.raises(ZeroDivisionError):
        list(answers.stream(ASK, ANN, threading.Event()))
    assert count_unfinished(answers) == 0


def test_a_client_that_goes_away_while_the_engine_is_at_work_stops_it(silent_answers):
    stop, outcome = threading.Event(), []
    stream = silent_answers.stream(ASK, ANN, stop)

    def read():
        try:
            list(stream)
        except Stopped:
            outcome.append("stopped")

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: silent_answers._run.__self__.together)
    stream.close()
    reader.join(PATIENCE)
    assert outcome == ["stopped"]
    assert count_unfinished(silent_answers) == 0


def test_closing_stops_the_streams_too(conversations, parrot):
    answers = Answers(conversations, parrot.run, None)
    stream = answers.stream(ASK, ANN, threading.Event())
    next(stream)
    answers.close()
    with pytest.raises(Stopped):
        list(stream)
