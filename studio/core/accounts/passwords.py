"""Passwords as scrypt hashes (RFC 7914), and the key that signs the cookies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from pathlib import Path

from pipelines.core.errors import Unavailable

MAX_PASSWORD = 1024  # characters; scrypt would chew on more for nothing

# 32 MiB and about a tenth of a second per attempt.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1
SCRYPT_MEMORY = 64 * 1024 * 1024

HASH = re.compile(r"scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9_-]+)\$([A-Za-z0-9_-]+)")
MADE = re.compile(r"sha256\$([A-Za-z0-9_-]+)\$([A-Za-z0-9_-]+)")


def hash_password(password: str) -> str:
    """``scrypt$N$r$p$salt$key`` with a fresh 16-byte salt, base64url without padding."""
    salt = secrets.token_bytes(16)
    key = _scrypt(_compose(password), salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${_encode(salt)}${_encode(key)}"


def hash_made_password(password: str) -> str:
    """``sha256$salt$key`` of a password with at least 96 random bits.

    Nobody guesses one of these, so that stretching it would only cost time, ours and everybody's
    who waits. A password that a person has chosen goes through :func:`hash_password`.
    """
    salt = secrets.token_bytes(16)
    return f"sha256${_encode(salt)}${_encode(_digest(password, salt))}"


def is_made(password_hash: str) -> bool:
    """Whether a hash is one of :func:`hash_made_password`."""
    return MADE.fullmatch(password_hash) is not None


def verify_password(password: str, password_hash: str) -> bool:
    """Whether ``password`` made ``password_hash``; takes the same time either way."""
    if len(password) > MAX_PASSWORD:
        return False
    # As it was typed comes second: hashes of earlier versions are of that.
    forms = dict.fromkeys((_compose(password), password))
    return any([_is_right(each, password_hash) for each in forms])


def _compose(password: str) -> str:
    """The same password at every system: a Mac types é as two signs, others as one (RFC 8265)."""
    return unicodedata.normalize("NFC", password)


def _is_right(password: str, password_hash: str) -> bool:
    if made := MADE.fullmatch(password_hash):
        return hmac.compare_digest(_digest(password, _decode(made[1])), _decode(made[2]))
    match = HASH.fullmatch(password_hash)
    if match is None:
        return False
    n, r, p = (int(number) for number in match.groups()[:3])
    return hmac.compare_digest(_scrypt(password, _decode(match[4]), n, r, p), _decode(match[5]))


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.sha256(salt + password.encode()).digest()


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY, dklen=32
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# What an unknown name's password is checked against, so that it takes as long as a known one's.
DUMMY_HASH = f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${_encode(bytes(16))}${_encode(bytes(32))}"


def load_secret(home: Path) -> bytes:
    """The key that signs cookies, ``<home>/secret.key``, made on first use for this user only."""
    path = home / "secret.key"
    try:
        with open(path, "xb", opener=private) as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    secret = path.read_bytes()
    if len(secret) < 32:
        raise Unavailable(
            "{file} is damaged. Delete it; everyone will have to log in again.", file=path.name
        )
    return secret


def private(path: str, flags: int) -> int:
    """An ``opener`` for :func:`open` that makes files which only this user can read."""
    return os.open(path, flags, 0o600)
