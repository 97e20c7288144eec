"""A store with conversations in it, and a way to talk without a model."""

from __future__ import annotations

import pytest

from studio.core.settings import StoredSettings
from studio.core.store import Store
from studio.features.chat.answers import Answers
from studio.features.chat.conversations import Conversations
from tests.studio.chat.parrot import Parrot
from tests.studio.chat.talk import Talk


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def settings(store):
    return StoredSettings(store)


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
def held(conversations):
    """Answers of a parrot that says nothing until it is allowed to."""
    parrot = Parrot(held=True)
    answers = Answers(conversations, parrot.run, None)
    yield answers
    answers.close()
