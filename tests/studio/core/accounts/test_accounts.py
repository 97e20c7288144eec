from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import stat
import time
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pipelines.core.errors import BadRequest, Busy, Refused, Unavailable
from studio.accounts import main
from studio.api import login
from studio.core.accounts import accounts as accounts_module
from studio.core.accounts import passwords, rate_limits
from studio.core.accounts.accounts import (
    Account,
    Accounts,
    NotLoggedIn,
    choose_accounts,
    read_accounts,
)
from studio.core.accounts.passwords import (
    hash_made_password,
    hash_password,
    load_secret,
    verify_password,
)
from studio.core.accounts.rate_limits import MAX_ADDRESS_FAILURES, MAX_FAILURES
from studio.core.accounts.sessions import SESSION_SECONDS, EndedSessions
from studio.core.store import Store
from tests.clock import set_clock

SECRET = bytes(range(32))
with pytest.MonkeyPatch.context() as patch:  # as scrypt is, but in no time
    patch.setattr(passwords, "SCRYPT_N", 16)
    ADA = Account("ada", hash_password("correct horse"), "ada")
    GUESTS = Account("guest", hash_password("open sesame"), None)
    HOST = Account("host", hash_password("the host's own"), "local", is_host=True)


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(SECRET, [ADA, GUESTS, HOST])


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_hash_is_scrypt_as_hashlib_computes_it():
    _, n, r, p, salt, key = hash_password("ä secret").split("$")
    expected = hashlib.scrypt(
        "ä secret".encode(),
        salt=base64.urlsafe_b64decode(salt + "=="),
        n=int(n),
        r=int(r),
        p=int(p),
        maxmem=2**26,
        dklen=32,
    )
    assert base64.urlsafe_b64decode(key + "=") == expected


def test_same_password_is_hashed_with_a_fresh_salt():
    assert hash_password("twice") != hash_password("twice")


@pytest.mark.parametrize("wrong", ["Correct horse", "", "correct horse ", "x" * 100_000])
def test_wrong_password_does_not_verify(wrong: str):
    assert not verify_password(wrong, ADA.password_hash)


@pytest.mark.parametrize("damaged", ["", "scrypt$", "correct horse", "scrypt$1$1$1$a"])
def test_damaged_hash_verifies_nothing(damaged: str):
    assert not verify_password(damaged, damaged)


def test_cookie_of_a_login_proves_its_owner(accounts: Accounts):
    login = accounts.log_in("ada", "correct horse", "1.2.3.4", None)
    owner = accounts.owner_by_cookie(login.cookie)
    assert owner == login.owner
    assert (owner.id, owner.is_host) == ("ada", False)


def test_host_keeps_the_gallery_of_local(accounts: Accounts):
    owner = accounts.log_in("host", "the host's own", "1.2.3.4", None).owner
    assert (owner.id, owner.is_host) == ("local", True)


def test_two_browsers_with_the_shared_password_are_two_guests(accounts: Accounts):
    first, second = (accounts.log_in("guest", "open sesame", "", None) for _ in range(2))
    assert first.owner.id != second.owner.id
    assert not first.owner.is_host


def test_guest_who_logs_in_again_is_the_same_guest_even_after_the_password_changed(accounts):
    before = accounts.log_in("guest", "open sesame", "", None)
    changed = Account("guest", hash_password("new"), None)
    restarted = Accounts(SECRET, [changed])
    assert restarted.owner_by_cookie(before.cookie) is None
    assert restarted.log_in("guest", "new", "", before.cookie).owner.id == before.owner.id


def test_cookie_of_a_user_does_not_become_a_guest_id(accounts: Accounts):
    ada = accounts.log_in("ada", "correct horse", "", None)
    assert accounts.log_in("guest", "open sesame", "", ada.cookie).owner.id.startswith("guest-")


def test_changed_cookie_proves_nothing(accounts: Accounts):
    cookie = accounts.log_in("ada", "correct horse", "", None).cookie
    payload, signature = cookie.split(".")
    claims = base64.urlsafe_b64decode(payload + "==").replace(b'"ada"', b'"host"')
    forged = base64.urlsafe_b64encode(claims).decode().rstrip("=")
    for changed in (f"{forged}.{signature}", payload, "", ".", "ä.ö", cookie + "0", None):
        assert accounts.owner_by_cookie(changed) is None


def test_cookie_of_another_studio_proves_nothing(accounts: Accounts):
    cookie = accounts.log_in("ada", "correct horse", "", None).cookie
    assert Accounts(bytes(32), [ADA]).owner_by_cookie(cookie) is None


def test_cookie_ends_with_the_session(accounts: Accounts, monkeypatch: pytest.MonkeyPatch):
    cookie = accounts.log_in("ada", "correct horse", "", None).cookie
    monkeypatch.setattr("studio.core.accounts.accounts.SESSION_SECONDS", -1)
    assert accounts.owner_by_cookie(cookie) is None


def test_unknown_name_and_wrong_password_get_the_same_sentence(accounts: Accounts):
    sentences = set()
    for name in ("ada", "nobody"):
        with pytest.raises(NotLoggedIn) as caught:
            accounts.log_in(name, "wrong", "", None)
        sentences.add(str(caught.value))
    assert len(sentences) == 1


def test_guessing_is_braked_for_its_address_and_name_only(accounts: Accounts):
    for _ in range(MAX_FAILURES):
        with pytest.raises(NotLoggedIn):
            accounts.log_in("ada", "wrong", "6.6.6.6", None)
    with pytest.raises(Busy, match="seconds"):
        accounts.log_in("ada", "correct horse", "6.6.6.6", None)
    assert accounts.log_in("ada", "correct horse", "1.2.3.4", None).owner.id == "ada"


def test_wrong_passwords_of_others_do_not_lock_out_a_browser_that_was_here(accounts: Accounts):
    """Behind a tunnel or a proxy everybody comes from one address."""
    before = accounts.log_in("ada", "correct horse", "127.0.0.1", None)
    for _ in range(MAX_FAILURES):
        with pytest.raises(NotLoggedIn):
            accounts.log_in("ada", "wrong", "127.0.0.1", None)
    with pytest.raises(Busy):
        accounts.log_in("ada", "correct horse", "127.0.0.1", None)
    again = accounts.log_in("ada", "correct horse", "127.0.0.1", None, before.device)
    assert (again.owner.id, again.device) == ("ada", before.device)


def test_the_login_page_knows_the_browser_by_its_cookie(accounts: Accounts, monkeypatch):
    monkeypatch.setattr(
        "studio.core.accounts.accounts.verify_password", lambda password, _: password == "right"
    )
    app = FastAPI()
    app.state.tabs = frozenset()
    app.state.studio = SimpleNamespace(accounts=accounts, options=SimpleNamespace(root_path=""))
    app.include_router(login.router)

    def status(browser: TestClient, password: str) -> int:
        data = {"name": "ada", "password": password}
        return browser.post("/login", data=data, follow_redirects=False).status_code

    known, other = TestClient(app), TestClient(app)
    assert status(known, "right") == 303
    assert [status(other, "wrong") for _ in range(MAX_FAILURES)] == [401] * MAX_FAILURES
    assert status(other, "right") == 429
    assert status(known, "right") == 303


def test_a_known_browser_is_braked_by_its_own_wrong_passwords(accounts: Accounts):
    device = accounts.log_in("ada", "correct horse", "127.0.0.1", None).device
    for _ in range(MAX_FAILURES):
        with pytest.raises(NotLoggedIn):
            accounts.log_in("ada", "wrong", "127.0.0.1", None, device)
    with pytest.raises(Busy):
        accounts.log_in("ada", "correct horse", "127.0.0.1", None, device)
    assert accounts.log_in("ada", "correct horse", "127.0.0.1", None).owner.id == "ada"


def test_a_browser_known_under_one_name_is_a_stranger_under_another(accounts: Accounts):
    device = accounts.log_in("guest", "open sesame", "6.6.6.6", None).device
    forged = device.replace(device[:4], "AAAA", 1)
    for each in (device, forged, "", None) * 2:
        with pytest.raises(NotLoggedIn):
            accounts.log_in("ada", "wrong", "6.6.6.6", None, each)
    with pytest.raises(Busy):
        accounts.log_in("ada", "correct horse", "6.6.6.6", None, device)


def test_an_address_that_tries_many_names_is_braked(accounts: Accounts, monkeypatch):
    monkeypatch.setattr("studio.core.accounts.accounts.verify_password", lambda *_: False)
    for number in range(MAX_ADDRESS_FAILURES):
        with pytest.raises(NotLoggedIn):
            accounts.log_in(f"user{number}", "wrong", "6.6.6.6", None)
    with pytest.raises(Busy):
        accounts.log_in("somebody", "wrong", "6.6.6.6", None)
    for number in range(MAX_ADDRESS_FAILURES + 1):  # the tunnel's, which is everybody's
        with pytest.raises(NotLoggedIn):
            accounts.log_in(f"user{number}", "wrong", "127.0.0.1", None)


def test_a_made_password_costs_no_time_and_cannot_be_locked():
    made = choose_accounts(None, reachable=True)[1][0]
    accounts = Accounts(SECRET, [made.account])
    for _ in range(10 * MAX_FAILURES):
        with pytest.raises(NotLoggedIn):
            accounts.log_in("guest", "wrong", "6.6.6.6", None)
    assert accounts.log_in("guest", made.password, "6.6.6.6", None).owner.id.startswith("guest-")
    assert len(base64.urlsafe_b64decode(made.password)) >= 12  # bytes: 96 bits nobody guesses


def test_a_crowd_of_wrong_passwords_keeps_no_made_one_waiting(monkeypatch):
    made = Account("host", hash_made_password("made"), "local", is_host=True)
    accounts = Accounts(SECRET, [ADA, made])
    monkeypatch.setattr(
        "studio.core.accounts.rate_limits.MAX_WAITING", 0
    )  # as when all places are taken

    def enter(name: str, password: str):
        return asyncio.run(accounts.in_turn(accounts.log_in, name, name, password, "", None))

    assert enter(" host ", "made").owner.is_host
    with pytest.raises(NotLoggedIn):
        enter("host", "wrong")
    for name in ("ada", "nobody"):
        with pytest.raises(Busy):
            enter(name, "correct horse")


def test_made_hash_is_salted_sha256():
    name, salt, key = hash_made_password("ä").split("$")
    expected = hashlib.sha256(base64.urlsafe_b64decode(salt + "==") + "ä".encode()).digest()
    assert (name, base64.urlsafe_b64decode(key + "=")) == ("sha256", expected)
    assert verify_password("ä", f"{name}${salt}${key}")
    assert not verify_password("a", f"{name}${salt}${key}")


def test_a_guest_s_cookie_makes_nobody_that_guest_after_logging_out_or_a_month(monkeypatch):
    accounts = Accounts(SECRET, [GUESTS])
    first = accounts.log_in("guest", "open sesame", "", None)
    assert accounts.log_in("guest", "open sesame", "", first.cookie).owner == first.owner
    second = accounts.log_in("guest", "open sesame", "", first.cookie)
    accounts.log_out(first.cookie)
    header = basic("guest", "open sesame")
    assert accounts.log_in("guest", "open sesame", "", first.cookie).owner != first.owner
    assert accounts.log_in_basic(header, "", first.cookie).owner != first.owner
    assert accounts.log_in("guest", "open sesame", "", second.cookie).owner == first.owner
    later = time.time() + SESSION_SECONDS + 10
    set_clock(monkeypatch, accounts_module, time=lambda: later)
    assert accounts.log_in("guest", "open sesame", "", second.cookie).owner != first.owner


def test_a_cookie_proves_nothing_after_logging_out(tmp_path):
    store = Store(tmp_path)
    accounts = Accounts(SECRET, [ADA], EndedSessions(store))
    one, other = (accounts.log_in("ada", "correct horse", "", None) for _ in range(2))
    accounts.log_out(one.cookie)
    accounts.log_out("nonsense")
    accounts.log_out(None)
    restarted = Accounts(SECRET, [ADA], EndedSessions(store))
    for each in (accounts, restarted):
        assert each.owner_by_cookie(one.cookie) is None
        assert each.owner_by_cookie(other.cookie) == other.owner
    store.close()


def test_a_name_and_a_password_are_the_same_typed_at_a_mac(tmp_path):
    file = tmp_path / "users"
    hashed = hash_password("pa\u00dfwo\u0308rter")
    file.write_text(f"\ufeffcafe\u0301:{hashed}\r\n", encoding="utf-8")
    accounts = Accounts(SECRET, read_accounts(file))
    for name in ("caf\u00e9", " cafe\u0301 "):
        for password in ("pa\u00dfw\u00f6rter", "pa\u00dfwo\u0308rter"):
            assert accounts.log_in(name, password, "a", None).owner.id == "caf\u00e9"
    with pytest.raises(NotLoggedIn):
        accounts.log_in("cafe", "pa\u00dfworter", "a", None)


def test_passwords_hashed_as_they_were_typed_are_still_right():
    typed = "pa\u00dfwo\u0308rter"
    key = hashlib.sha256(bytes(16) + typed.encode()).digest()
    hashed = f"sha256${'A' * 22}${base64.urlsafe_b64encode(key).decode().rstrip('=')}"
    assert verify_password(typed, hashed)


def test_a_file_of_users_in_another_encoding_says_so(tmp_path):
    (tmp_path / "users").write_text("ann:x", encoding="utf-16")
    with pytest.raises(Unavailable, match=r"users is not written in UTF-8\. Save it so\."):
        read_accounts(tmp_path / "users")


def test_brake_lets_go(accounts: Accounts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rate_limits, "FAILURE_SECONDS", 0.0)
    for _ in range(MAX_FAILURES + 1):
        with pytest.raises(NotLoggedIn):
            accounts.log_in("ada", "wrong", "6.6.6.6", None)


def test_basic_header_logs_in(accounts: Accounts):
    for _ in range(2):  # the second time from memory
        login = accounts.log_in_basic(basic("ada", "correct horse"), "", None)
        assert login.owner.id == "ada"
    with pytest.raises(NotLoggedIn):
        accounts.log_in_basic(basic("ada", "wrong"), "", None)


@pytest.mark.parametrize("header", ["", "Basic", "Basic %%%", "Bearer abc", "Basic /w=="])
def test_unreadable_basic_header_is_refused(accounts: Accounts, header: str):
    with pytest.raises(NotLoggedIn):
        accounts.log_in_basic(header, "", None)


def test_key_of_the_terminal_logs_the_host_in_once(accounts: Accounts):
    key = accounts.make_host_key()
    assert accounts.log_in_with_key(key).owner.is_host
    for used in (key, "", "made up"):
        with pytest.raises(Refused):
            accounts.log_in_with_key(used)


def test_secret_is_kept_and_readable_by_this_user_only(tmp_path):
    secret = load_secret(tmp_path)
    assert len(secret) == 32
    assert load_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_damaged_secret_is_not_used(tmp_path):
    (tmp_path / "secret.key").write_bytes(b"")
    with pytest.raises(Unavailable):
        load_secret(tmp_path)


def test_loopback_needs_no_accounts():
    assert choose_accounts(None, reachable=False) == ([], [])


def test_reachable_studio_makes_a_guest_and_a_host_account():
    accounts, made = choose_accounts(None, reachable=True)
    assert [(each.name, each.is_host, each.owner_id) for each in accounts] == [
        ("guest", False, None),
        ("host", True, "local"),
    ]
    for each in made:
        assert verify_password(each.password, each.account.password_hash)


def test_file_without_a_host_gets_one_made(tmp_path):
    file = tmp_path / "users"
    file.write_text(f"# us\n\nada:{ADA.password_hash}\n")
    accounts, made = choose_accounts(file, reachable=False)
    assert [each.name for each in accounts] == ["ada", "host"]
    assert [each.account.name for each in made] == ["host"]


def test_file_may_name_its_host(tmp_path):
    file = tmp_path / "users"
    file.write_text(f"ada:{ADA.password_hash}:host\n")
    accounts, made = choose_accounts(file, reachable=True)
    assert accounts == [Account("ada", ADA.password_hash, "ada", is_host=True)]
    assert made == []


@pytest.mark.parametrize(
    "line",
    [
        "ada:plain password",
        "ada",
        ":{hash}",
        "ada:{hash}:admin",
        "../x:{hash}",
        "local:{hash}",
        "Guest-1:{hash}",
    ],
)
def test_bad_line_of_the_file_is_refused(tmp_path, line: str):
    (tmp_path / "users").write_text(line.format(hash=ADA.password_hash))
    with pytest.raises(BadRequest):
        read_accounts(tmp_path / "users")


def test_file_of_users_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(Unavailable, match="No such file"):
        read_accounts(tmp_path / "users")
    (tmp_path / "users").write_text("# nobody\n")
    with pytest.raises(Unavailable, match="no user"):
        read_accounts(tmp_path / "users")


def test_command_adds_users_that_can_log_in(tmp_path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "users"
    for name, extra in (("ada", []), ("王小明", ["--host"])):
        monkeypatch.setattr("sys.stdin", io.StringIO("long enough\n"))
        assert main(["add", name, "--file", str(file), *extra]) == 0
    accounts = Accounts(SECRET, read_accounts(file))
    assert accounts.log_in("王小明", "long enough", "", None).owner.is_host
    assert not accounts.log_in("ada", "long enough", "", None).owner.is_host
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_command_refuses_short_passwords(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(SystemExit):
        main(["add", "ada", "--file", str(tmp_path / "users")])
    assert "8 characters" in capsys.readouterr().err


def test_ended_sessions_that_have_run_out_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("studio.core.accounts.sessions.FEW", 2)
    with contextlib.closing(Store(tmp_path)) as store:
        ended = EndedSessions(store)
        for number in range(50):
            ended.add(f"old{number}", time.time() - 1)
        ended.add("new", time.time() + 100)
        assert "new" in ended
        assert len(ended._until) <= 5
        assert len(store.rows("SELECT * FROM ended_sessions")) <= 5
        assert "new" in EndedSessions(store)
