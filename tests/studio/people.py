"""Those who have an account in the tests' studios."""

from __future__ import annotations

from studio.accounts import Account
from studio.passwords import hash_password

ACCOUNTS = (
    Account("ada", hash_password("ada's own"), "ada"),
    Account("bob", hash_password("bob's own"), "bob"),
    Account("guest", hash_password("shared"), None),
    Account("host", hash_password("the host's"), "local", is_host=True),
)
PASSWORDS = {"ada": "ada's own", "bob": "bob's own", "guest": "shared", "host": "the host's"}
