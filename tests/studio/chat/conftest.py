"""A store with conversations in it, and a way to talk without a model."""

from __future__ import annotations

import pytest

from studio.chat.conversations import Conversations
from studio.settings import StoredSettings
from studio.store import Store


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
