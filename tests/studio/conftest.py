"""People with accounts, each at a browser of their own; a store of their own for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from studio.core.settings import StoredSettings
from studio.core.store import Store
from tests.studio.people import browser_of


@pytest.fixture
def visitor(studio) -> Iterator[Callable[[str | None], httpx.Client]]:
    """``visitor(name)``: one more browser, in which ``name`` is logged in; None: nobody."""
    with ExitStack() as browsers:
        yield lambda name: browsers.enter_context(browser_of(studio[1], name))


def _browser(name: str | None):
    @pytest.fixture(scope="module")
    def browser(studio) -> Iterator[httpx.Client]:
        with browser_of(studio[1], name) as client:
            yield client

    return browser


ada, bob, guest, host = map(_browser, ("ada", "bob", "guest", "host"))
stranger = _browser(None)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def settings(store):
    return StoredSettings(store)
