"""Keys for other programs, made on the page."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from studio.core.accounts.accounts import LOCAL_OWNER, NotLoggedIn, Owner
from studio.core.accounts.keys import Keys
from studio.features.settings.api_keys import ApiKeys
from studio.page.widgets import Visitor

HOST = Visitor(LOCAL_OWNER, "en")
GUEST = Visitor(Owner("guest", "guest", is_host=False), "en")
OTHER_HOST = Visitor(Owner("ada", "ada", is_host=True), "en")


@pytest.fixture
def keys(store, settings) -> Keys:
    return Keys(store, settings)


@pytest.fixture
def form(keys) -> ApiKeys:
    return ApiKeys(SimpleNamespace(keys=keys))


def make_key(form: ApiKeys, *values) -> str:
    return re.search(r"sk-atelier-[\w-]+", form.make(HOST, *values))[0]


def test_key_is_shown_once_and_has_its_limits(form, keys):
    token = make_key(form, "Editor", 5, None)
    key = keys.owner_of_key(token)
    assert (key.name, key.owner) == ("Editor", "local")
    assert (key.requests_per_minute, key.tokens_per_minute) == (5, None)
    [(words, key_id)] = form.choices(HOST)
    assert key_id == key.id
    assert token[-4:] in words
    assert token not in words


def test_empty_limits_are_the_settings_own_and_0_is_none(form, keys):
    left_open = keys.owner_of_key(make_key(form, "Editor", "", " "))
    assert (left_open.requests_per_minute, left_open.tokens_per_minute) == (None, None)
    typed = keys.owner_of_key(make_key(form, "Editor", "7", "0"))
    assert (typed.requests_per_minute, typed.tokens_per_minute) == (7, 0)


def test_revoked_key_is_wrong_and_not_listed(form, keys):
    token = make_key(form, "Editor", None, None)
    [(_, key_id)] = form.choices(HOST)
    assert "is revoked" in form.revoke(HOST, key_id)
    assert form.choices(HOST) == []
    with pytest.raises(NotLoggedIn):
        keys.owner_of_key(token)


def test_guest_neither_makes_nor_sees_nor_revokes_keys(form, keys):
    token = make_key(form, "Editor", None, None)
    key = keys.owner_of_key(token)
    assert "Only the host" in form.make(GUEST, "Mine", None, None)
    assert form.choices(GUEST) == []
    assert "Only the host" in form.revoke(GUEST, key.id)
    assert keys.owner_of_key(token).id == key.id


def test_another_host_s_key_does_not_exist(form, keys):
    token = make_key(form, "Editor", None, None)
    key = keys.owner_of_key(token)
    assert form.choices(OTHER_HOST) == []
    assert "You have no API key" in form.revoke(OTHER_HOST, key.id)
    assert keys.owner_of_key(token).id == key.id


@pytest.mark.parametrize(
    "values", [("", None, None), ("x" * 81, None, None), ("x", -1, None), ("x", "many", "")]
)
def test_unusable_values_make_no_key(form, values):
    assert "sk-atelier-" not in form.make(HOST, *values)
    assert form.choices(HOST) == []


def test_what_the_host_calls_a_key_is_escaped(form):
    make_key(form, "<b>x</b>", None, None)
    [(_, key_id)] = form.choices(HOST)
    assert "<b>" not in form.revoke(HOST, key_id)
