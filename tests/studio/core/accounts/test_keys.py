"""Keys: shown once, kept as a digest, limited by the minute, ended for good."""

import hashlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.core.errors import BadRequest, Busy, NotFound, Refused
from studio.core.accounts import keys as keys_module
from studio.core.accounts import rate_limits
from studio.core.accounts.accounts import LOCAL_OWNER, NotLoggedIn, Owner
from studio.core.accounts.keys import PREFIX, Keys
from studio.core.accounts.rate_limits import Window
from studio.core.home import HomeLock, disk_full
from studio.core.settings import StoredSettings
from studio.core.store import FILE_NAME, Store
from studio.keys import main
from tests.clock import set_clock
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[4]
HOST = Owner("ann", "ann", is_host=True)


@pytest.fixture
def keys(store, settings):
    return Keys(store, settings)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when ``clock[0]`` is raised."""
    now = [1000.0]
    set_clock(monkeypatch, rate_limits, monotonic=lambda: now[0])
    return now


def test_a_key_leads_to_its_owner_also_after_a_restart(keys, tmp_path, store):
    made, token = keys.make(HOST, " My  editor\n")
    assert (made.owner, made.name, made.used) == ("ann", "My editor", None)
    assert token.startswith(PREFIX)
    assert token.endswith(made.ending)
    assert len(made.ending) == 4
    store.close()
    again = Store(tmp_path)
    found = Keys(again, StoredSettings(again)).owner_of_key(token)
    assert (found.id, found.owner) == (made.id, "ann")
    again.close()


def test_the_key_itself_is_nowhere_in_the_home_folder(keys, tmp_path, store):
    _, token = keys.make(HOST, "editor")
    keys.owner_of_key(token)
    secret = token.removeprefix(PREFIX).encode()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"editor" in data for data in files)
    assert not any(secret in data or secret[:12] in data for data in files)
    assert store.row("SELECT digest FROM api_keys")[0] == hashlib.sha256(token.encode()).digest()


def test_keys_are_long_and_never_the_same(keys):
    tokens = {keys.make(HOST, "k")[1] for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token.removeprefix(PREFIX)) == 43 for token in tokens), "256 bits in base64"


@pytest.mark.parametrize("change", [
    lambda token: "", lambda token: token[:-1], lambda token: token + "x",
    lambda token: token.lower(), lambda token: token.removeprefix(PREFIX),
    lambda token: " " + token, lambda token: "\ud800é\0", lambda token: token + "x" * 10**6,
    lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
])  # fmt: skip
def test_what_is_not_exactly_a_key_is_none(keys, change):
    _, token = keys.make(HOST, "editor")
    with pytest.raises(NotLoggedIn, match="wrong, or was revoked"):
        keys.owner_of_key(change(token))
    assert keys.list("ann")[0].used is None


def test_a_revoked_key_is_none_any_more_and_stays_in_the_list(keys):
    made, token = keys.make(HOST, "editor")
    other, other_token = keys.make(HOST, "other")
    assert keys.revoke("ann", made.id).revoked is not None
    first = keys.revoke("ann", made.id).revoked
    assert keys.revoke("ann", made.id).revoked == first, "again is no error and changes nothing"
    with pytest.raises(NotLoggedIn):
        keys.owner_of_key(token)
    assert keys.owner_of_key(other_token).id == other.id
    assert [each.id for each in keys.list("ann")] == [other.id, made.id]


def test_only_hosts_make_keys_and_see_only_their_own(keys):
    for owner in (Owner("guest-1", "guest", is_host=False), Owner("ben", "ben", is_host=False)):
        with pytest.raises(Refused, match="Only the host"):
            keys.make(owner, "mine")
    made, _ = keys.make(HOST, "mine")
    keys.make(LOCAL_OWNER, "local's")
    assert [each.id for each in keys.list("ann")] == [made.id]
    assert keys.list("ben") == []
    with pytest.raises(NotFound):
        keys.revoke("ben", made.id)
    assert keys.list("ann")[0].revoked is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": ""}, "Name of the key"),
        ({"name": " \n"}, "Name of the key"),
        ({"name": "x" * 81}, "81 characters; at most 80"),
        ({"name": "\ud800"}, "Name of the key"),
        ({"requests_per_minute": -1}, "Requests per minute is -1; it must be at least 0"),
        ({"tokens_per_minute": 10**10}, "Tokens per minute is 10000000000"),
    ],
)
def test_a_bad_key_is_refused_by_a_sentence(keys, values, sentence):
    with pytest.raises(BadRequest, match=sentence):
        keys.make(HOST, **{"name": "editor", **values})
    assert keys.all_keys() == []


def test_when_a_key_was_last_used_is_written_at_most_once_a_minute(keys, monkeypatch):
    now = [1000.0]
    set_clock(monkeypatch, keys_module, time=lambda: now[0])
    _, token = keys.make(HOST, "editor")
    for moment, expected in ((2000.0, 2000.0), (2059.0, 2000.0), (2060.0, 2060.0)):
        now[0] = moment
        keys.owner_of_key(token)
        assert keys.list("ann")[0].used == expected


def test_a_full_disk_keeps_nobody_out(keys, store, monkeypatch, tmp_path):
    made, token = keys.make(HOST, "editor")

    def full(*_):
        raise disk_full(4096, tmp_path)

    monkeypatch.setattr(store, "write", full)
    assert keys.owner_of_key(token).id == made.id


# --- limits -------------------------------------------------------------------------------------


def test_so_many_requests_a_minute_and_then_the_seconds_until_the_next(keys, clock):
    key, _ = keys.make(HOST, "editor", requests_per_minute=3)
    for moment in (0, 10, 20):
        clock[0] = 1000.0 + moment
        keys.check_request(key)
    clock[0] = 1025.5
    with pytest.raises(Busy, match=r"made 3 requests in the last minute; 3 .* again in 35 seconds"):
        keys.check_request(key)
    clock[0] = 1059.9
    with pytest.raises(Busy, match="again in 1 seconds"):
        keys.check_request(key)
    clock[0] = 1060.0  # the first is a minute ago; refused ones do not count
    keys.check_request(key)
    with pytest.raises(Busy, match="again in 10 seconds"):
        keys.check_request(key)


def test_so_many_tokens_a_minute_and_then_the_seconds_until_enough_are_past(keys, clock):
    key, _ = keys.make(HOST, "editor", tokens_per_minute=100)
    for moment, tokens in ((0, 10), (10, 80), (20, 60)):
        clock[0] = 1000.0 + moment
        keys.check_request(key)
        keys.count_tokens(key, tokens)
    clock[0] = 1030.0
    # Of 150, the 10 leave at 1060 (140 left), the 80 at 1070 (60 left): below 100 in 40 seconds.
    with pytest.raises(Busy, match=r"used 150 tokens .*; 100 are allowed.* again in 40 seconds"):
        keys.check_request(key)
    clock[0] = 1070.0
    keys.check_request(key)


def test_a_key_without_limits_has_those_of_the_settings_and_0_is_none(keys, settings, clock):
    settings.change(key_requests_per_minute=1, key_tokens_per_minute=5)
    as_set, _ = keys.make(HOST, "as set")
    free, _ = keys.make(HOST, "free", requests_per_minute=0, tokens_per_minute=0)
    keys.check_request(as_set)
    with pytest.raises(Busy, match="1 requests"):
        keys.check_request(as_set)
    for _ in range(100):
        keys.check_request(free)
        keys.count_tokens(free, 10**6)
    settings.change(key_requests_per_minute=0)
    keys.count_tokens(as_set, 5)
    with pytest.raises(Busy, match="5 tokens"):
        keys.check_request(as_set)
    settings.change(key_tokens_per_minute=0)
    keys.check_request(as_set)


def test_one_key_does_not_use_up_another_ones_minute(keys, clock):
    one, _ = keys.make(HOST, "one", requests_per_minute=1)
    two, _ = keys.make(HOST, "two", requests_per_minute=1)
    keys.check_request(one)
    keys.check_request(two)
    with pytest.raises(Busy):
        keys.check_request(one)


def test_many_threads_together_get_no_more_than_the_limit(keys):
    key, _ = keys.make(HOST, "editor", requests_per_minute=50)
    passed = []

    def ask():
        for _ in range(20):
            try:
                keys.check_request(key)
                passed.append(1)
            except Busy:
                pass

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 50


def test_a_window_forgets_what_is_past_and_needs_no_memory_for_it():
    window = Window()
    for second in range(1000):
        window.add(2, float(second))
        window.forget(float(second))
    assert window.total == 2 * 60
    assert len(window._entries) == 60


# --- the command line ---------------------------------------------------------------------------


def command(home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "studio.keys", *arguments, "--home", str(home)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_keys_are_made_and_revoked_on_the_command_line_while_the_studio_runs(tmp_path):
    with HomeLock(tmp_path):
        store = Store(tmp_path)
        keys = Keys(store, StoredSettings(store))
        writer = sqlite3.connect(
            tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False
        )
        writer.execute("BEGIN IMMEDIATE")  # the studio is just writing
        threading.Timer(1.5, lambda: writer.execute("COMMIT")).start()
        made = command(tmp_path, "make", "my editor", "--requests", "7")
        assert made.returncode == 0, made.stderr
        token = made.stdout.strip()
        assert "not shown again" in made.stderr
        key = keys.owner_of_key(token)
        assert (key.owner, key.name, key.requests_per_minute) == ("local", "my editor", 7)

        listed = command(tmp_path, "list")
        assert key.id in listed.stdout
        assert f"…{token[-4:]}" in listed.stdout
        assert "valid" in listed.stdout
        assert token not in listed.stdout
        assert command(tmp_path, "revoke", key.id).returncode == 0
        with pytest.raises(NotLoggedIn):
            keys.owner_of_key(token)
        writer.close()
        store.close()


def test_the_command_line_says_what_is_wrong_and_changes_nothing(tmp_path, capsys):
    home = ["--home", str(tmp_path)]
    for arguments, sentence in (
        (["make", "x", "--owner", "guest-1"], "guest-1 is a name that the studio needs itself"),
        (["make", "x", "--requests", "-1"], "Requests per minute is -1"),
        (["revoke", "nothing"], "You have no API key nothing"),
    ):
        assert main([*arguments, *home]) == 1
        assert sentence in capsys.readouterr().err
    assert main(["list", *home]) == 0
    assert capsys.readouterr().out == ""
    assert main(["make", "x", "--owner", "ann", *home]) == 0
    assert main(["list", *home]) == 0
    assert "(ann, valid" in capsys.readouterr().out
