"""Who is who: the machine's owner, named users, and guests behind a shared password.

Without accounts (the studio on loopback) everyone is the owner ``local``. With accounts, a person
logs in with name and password and is then known by a signed cookie. The shared account of a public
link makes every browser a guest of its own. The host (who may load models from the hub and see
everything) is known by a password only: the share tunnel connects from loopback too, so an address
proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest, Refused, Unavailable, UserError
from studio.core.accounts.passwords import (
    DUMMY_HASH,
    HASH,
    hash_made_password,
    is_made,
    verify_password,
)
from studio.core.accounts.rate_limits import MAX_ADDRESS_FAILURES, MAX_FAILURES, Failures, OneByOne
from studio.core.accounts.sessions import SESSION_SECONDS, EndedSessions, Signer

if TYPE_CHECKING:
    import gradio

BASIC_SECONDS = 300.0  # how long a verified Basic password is not put through scrypt again

LOCAL, HOST, GUEST = "local", "host", "guest"
_NAME = re.compile(r"\w[\w.\- ]{0,39}")


class NotLoggedIn(UserError):
    """A stranger, or a name and password that do not belong together (HTTP 401)."""


def is_guest(owner_id: str) -> bool:
    """Whether an owner's id is that of a guest's browser."""
    return owner_id.startswith(f"{GUEST}-")


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom jobs and pictures belong.

    Attributes:
        id: ``local``, a user's name, or ``guest-…``; the key in the database.
        name: what the page calls this person.
        is_host: may load models from the hub, change settings and delete others' data.
    """

    id: str
    name: str
    is_host: bool


LOCAL_OWNER = Owner(LOCAL, LOCAL, is_host=True)


@dataclass(frozen=True, slots=True)
class Account:
    """A name and password that let someone in.

    Attributes:
        name: what is typed at the login.
        password_hash: from :func:`hash_password`.
        owner_id: whom it logs in, or None: every browser becomes a guest of its own.
        is_host: see :class:`Owner`.
    """

    name: str
    password_hash: str
    owner_id: str | None
    is_host: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """A login that succeeded.

    Attributes:
        owner: who has come in.
        cookie: its value proves this from now on.
        device: the value of the cookie by which this browser is known at its next login; None
            where none was made.
    """

    owner: Owner
    cookie: str
    device: str | None = None


class Accounts:
    """The accounts of one studio, its sessions and its brake on guessing.

    Args:
        secret: 32 bytes that sign the cookies; keeping them keeps sessions over a restart.
        accounts: none for a studio that everybody at this machine uses as ``local``.
        ended: the sessions that somebody has logged out of.

    Attributes:
        passwords: where logins wait for their turn, in the server.
    """

    def __init__(
        self,
        secret: bytes,
        accounts: Iterable[Account] = (),
        ended: EndedSessions | None = None,
    ) -> None:
        self._secret = secret
        self._signer = Signer(secret)
        self._accounts = {account.name: account for account in accounts}
        self._ended = ended or EndedSessions()
        self._failures = Failures()
        self.passwords = OneByOne()
        self._verified: dict[bytes, float] = {}
        self._host_keys: set[str] = set()
        self._lock = threading.Lock()
        # Cookies know no ports: two studios on one machine must not overwrite each other's.
        self.cookie_name = "atelier_" + hashlib.sha256(b"cookie" + secret).hexdigest()[:8]
        self.device_cookie_name = f"{self.cookie_name}_browser"

    @property
    def needed(self) -> bool:
        """Whether anyone has to log in at all."""
        return bool(self._accounts)

    @property
    def shared(self) -> bool:
        """Whether there is an account whose browsers become guests."""
        return any(account.owner_id is None for account in self._accounts.values())

    async def in_turn(self, check: Callable[..., Login], name: str, *arguments: object) -> Login:
        """Waits for the turn of who logs in as ``name``, then returns ``check(*arguments)``.

        A password that the studio has made is compared in no time, so that it waits for nobody's.

        Raises:
            Busy: too many wait already; or as ``check`` does.
        """
        account = self._accounts.get(_plain(name))
        if account is not None and is_made(account.password_hash):
            return check(*arguments)
        return await self.passwords.run(check, *arguments)

    def log_in(
        self,
        name: str,
        password: str,
        address: str,
        old_cookie: str | None,
        device: str | None = None,
    ) -> Login:
        """Checks a name and password. A guest who was here before stays the same guest.

        Wrong passwords of others do not lock anybody out: a browser that has logged in under this
        name before is counted by itself (device cookies, as OWASP describes them), and a password
        that the studio has made needs no lock, since nobody guesses it.

        Args:
            device: the value of the cookie that an earlier login has left.

        Raises:
            NotLoggedIn: they do not belong together.
            Busy: too many wrong ones came from ``address`` for this name, or at all.
        """
        name = _plain(name)
        account = self._accounts.get(name)
        known = self._signer.read("device", device)
        if known is not None and known["account"] == name:
            brakes = [(known["browser"], MAX_FAILURES)]
        elif account is not None and is_made(account.password_hash):
            brakes = []
        else:
            brakes = [((name, address), MAX_FAILURES), (address, MAX_ADDRESS_FAILURES)]
            if _is_shared(address):
                brakes.pop()
        for key, limit in brakes:
            self._failures.check(key, limit)
        # An unknown name costs as much time as a known one, so that names cannot be found out.
        right = verify_password(password, account.password_hash if account else DUMMY_HASH)
        if account is None or not right:
            for key, _ in brakes:
                self._failures.add(key)
            raise NotLoggedIn("The name or the password is wrong.")
        return self._admit(account, old_cookie, device)

    def log_out(self, cookie: str | None) -> None:
        """Ends a session: its cookie proves nothing any more, wherever a copy of it lies."""
        claims = self._signer.read("session", cookie)
        if cookie is not None and claims is not None:
            self._ended.add(cookie, claims["issued"] + SESSION_SECONDS)

    def owner_by_cookie(self, cookie: str | None) -> Owner | None:
        """The owner whom a cookie proves, or None when it proves nothing (any more)."""
        claims = self._open_claims(cookie)
        account = self._accounts.get(claims["account"]) if claims else None
        if claims is None or account is None:
            return None
        if not hmac.compare_digest(claims["stamp"], self._stamp(account)):
            return None  # the password has changed since
        return _owner(account, claims["owner"])

    def _open_claims(self, cookie: str | None) -> dict[str, Any] | None:
        """The claims of a session that nobody has logged out of, and that is not too old."""
        claims = self._signer.read("session", cookie)
        if claims is None or cookie in self._ended:
            return None
        return claims if claims["issued"] + SESSION_SECONDS >= time.time() else None

    def recall_basic(self, header: str, cookie: str | None) -> Login | None:
        """The login of an ``Authorization: Basic`` header that was proved a moment ago, if it was.

        Programs send it with each request, and scrypt is not for each request.
        """
        with contextlib.suppress(NotLoggedIn):
            name, password = _basic(header)
            with self._lock:
                known = self._verified.get(self._digest(name, password), 0.0) > _now()
            if known and _plain(name) in self._accounts:
                return self._admit(self._accounts[_plain(name)], cookie, None)
        return None

    def log_in_basic(
        self, header: str, address: str, cookie: str | None, device: str | None = None
    ) -> Login:
        """The login of an HTTP ``Authorization: Basic`` header.

        Raises:
            NotLoggedIn, Busy: as :meth:`log_in`, or the header cannot be read.
        """
        if (recent := self.recall_basic(header, cookie)) is not None:
            return recent
        name, password = _basic(header)
        login = self.log_in(name, password, address, cookie, device)
        with self._lock:
            self._verified = {key: end for key, end in self._verified.items() if end > _now()}
            self._verified[self._digest(name, password)] = _now() + BASIC_SECONDS
        return login

    def _digest(self, name: str, password: str) -> bytes:
        """What is remembered of a proved password: a keyed digest, never the password."""
        return hmac.digest(self._secret, f"basic:{name}:{password}".encode(), "sha256")

    def owner_of_key(self, owner_id: str) -> Owner:
        """The owner of an API key, with the rights that the owner has now.

        Raises:
            NotLoggedIn: the user has no account any more.
        """
        if owner_id == LOCAL or not self.needed:
            return Owner(owner_id, owner_id, is_host=True)
        account = next((a for a in self._accounts.values() if a.owner_id == owner_id), None)
        if account is None:
            raise NotLoggedIn("The user whom this API key belongs to has no account any more.")
        return _owner(account, owner_id)

    def make_host_key(self) -> str:
        """A key that logs the host in once, for the link printed in the terminal."""
        key = secrets.token_urlsafe(24)
        with self._lock:
            self._host_keys.add(key)
        return key

    def log_in_with_key(self, key: str) -> Login:
        """The host's login by :meth:`make_host_key`; each key works once.

        Raises:
            Refused: the key is wrong or used up.
        """
        account = next((each for each in self._accounts.values() if each.is_host), None)
        with self._lock:
            given = key.encode("utf-8", "replace")  # a stranger may send anything
            keys = (k for k in self._host_keys if hmac.compare_digest(k.encode(), given))
            match = next(keys, None)
            if match is None or account is None:
                raise Refused(
                    "This link has been used already. Log in with the name and password "
                    "that the terminal shows."
                )
            self._host_keys.discard(match)
        return self._admit(account, None, None)

    def _admit(self, account: Account, old_cookie: str | None, device: str | None) -> Login:
        owner_id = account.owner_id
        if owner_id is None:
            before = self._open_claims(old_cookie)
            returning = before is not None and before["account"] == account.name
            owner_id = before["owner"] if returning else f"{GUEST}-{secrets.token_urlsafe(12)}"
        claims = {
            "account": account.name,
            "owner": owner_id,
            "stamp": self._stamp(account),
            "issued": int(time.time()),
            "session": secrets.token_urlsafe(9),  # two of one second are two
        }
        known = self._signer.read("device", device)
        if known is None or known["account"] != account.name:
            browser = {"account": account.name, "browser": secrets.token_urlsafe(12)}
            device = self._signer.sign("device", browser)
        return Login(_owner(account, owner_id), self._signer.sign("session", claims), device)

    def _stamp(self, account: Account) -> str:
        return hmac.new(self._secret, account.password_hash.encode(), "sha256").hexdigest()[:16]


def owner_of(request: gradio.Request) -> Owner:
    """Who sent a Gradio event or an HTTP request; the access middleware has put it there."""
    return request.state.owner


def basic_name(header: str) -> str:
    """The name in an HTTP Basic header; raises NotLoggedIn where it cannot be read."""
    return _basic(header)[0]


def basic_password(header: str) -> str:
    """The password in an HTTP Basic header; raises NotLoggedIn where it cannot be read."""
    return _basic(header)[1]


def _basic(header: str) -> tuple[str, str]:
    """Name and password of an HTTP Basic header."""
    scheme, _, value = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise NotLoggedIn("The Authorization header must be HTTP Basic.") from None
    return name, password


def _plain(name: str) -> str:
    """A name as accounts have it: a Mac writes é as two signs, other systems as one."""
    return unicodedata.normalize("NFC", name.strip())


def _is_shared(address: str) -> bool:
    """Whether everybody comes from this address: a tunnel or a proxy on this machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True


def _owner(account: Account, owner_id: str) -> Owner:
    return Owner(owner_id, account.name, account.is_host)


def _now() -> float:
    return time.monotonic()


# --- where accounts come from ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Made:
    """An account made for this run, with the password to print."""

    account: Account
    password: str


def choose_accounts(file: Path | None, reachable: bool) -> tuple[list[Account], list[Made]]:
    """The accounts of a run, and those of them that were made for it.

    Args:
        file: of users; see :func:`read_accounts`. Without a host among them, one is made.
        reachable: others can reach the page: without a file, a shared account for guests and one
            for the host (who keeps the gallery of ``local``) are made.
    """
    accounts = read_accounts(file) if file else []
    made = []
    if reachable and not accounts:
        made.append(_make(GUEST, owner_id=None, is_host=False))
    if (reachable or accounts) and not any(account.is_host for account in accounts):
        made.append(_make(HOST, owner_id=LOCAL, is_host=True))
    return accounts + [each.account for each in made], made


def _make(name: str, owner_id: str | None, is_host: bool) -> Made:
    password = secrets.token_urlsafe(12)
    return Made(Account(name, hash_made_password(password), owner_id, is_host), password)


def read_accounts(path: Path) -> list[Account]:
    """Reads a file of users: lines ``name:scrypt-hash`` or ``name:scrypt-hash:host``.

    Raises:
        Unavailable: the file cannot be read or has no user.
        BadRequest: names the first line that cannot be used.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise Unavailable(
            "The file of users {file} cannot be read: {reason}.",
            file=path.name,
            reason=error.strerror or "?",
        ) from error
    except UnicodeDecodeError as error:
        raise Unavailable(
            "The file of users {file} is not written in UTF-8. Save it so.", file=path.name
        ) from error
    accounts: dict[str, Account] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, password_hash, role = (*_plain(line).split(":"), "", "")[:3]
        if not HASH.fullmatch(password_hash) or role not in ("", HOST) or name in accounts:
            raise BadRequest(
                "Line {line} of {file} is not `name:hash` with a new name. "
                "`python -m studio.accounts add NAME` makes such a line.",
                line=number,
                file=path.name,
            )
        check_name(name)
        accounts[name] = Account(name, password_hash, owner_id=name, is_host=role == HOST)
    if not accounts:
        raise Unavailable(
            "The file of users {file} has no user. "
            "Add one with `python -m studio.accounts add NAME --file {file}`.",
            file=path.name,
        )
    return list(accounts.values())


def check_name(name: str) -> str:
    """Refuses names that cannot be told from the studio's own owners.

    Raises:
        BadRequest: says why.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise BadRequest(
            "{name} cannot be a user name: use 1 to 40 letters, digits, dots, dashes or spaces.",
            name=repr(name),
        )
    if name.lower() in (LOCAL, HOST) or name.lower().startswith(GUEST):
        raise BadRequest(
            "{name} is a name that the studio needs itself; choose another.", name=name
        )
    return name
