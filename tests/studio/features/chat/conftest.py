"""Conversations, and a way to talk without a model."""

from __future__ import annotations

import pytest

from studio.features.chat.answers.answers import Answers
from studio.features.chat.conversations import Conversations
from tests.studio.features.chat.parrot import Parrot
from tests.studio.features.chat.talk import Talk


@pytest.fixture
def conversations(store, settings):
    return Conversations(store, settings)


@pytest.fixture
def parrot():
    return Parrot()


@pytest.fixture
def answers(conversations, parrot):
    answers = Answers(conversations, parrot.run, cache=None)
    yield answers
    answers.close()


@pytest.fixture
def talk(conversations):
    return Talk(conversations)


@pytest.fixture
def silent_answers(conversations):
    """Answers of a parrot that says nothing until it is allowed to."""
    parrot = Parrot(held=True)
    answers = Answers(conversations, parrot.run, None)
    yield answers
    answers.close()
