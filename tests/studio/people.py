"""Those who have an account in the tests' studios, and their browsers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from studio.core.accounts.accounts import Account
from studio.core.accounts.passwords import hash_made_password
from tests.patience import PATIENCE

ACCOUNTS = (
    Account("ada", hash_made_password("ada's own"), "ada"),
    Account("bob", hash_made_password("bob's own"), "bob"),
    Account("guest", hash_made_password("shared"), None),
    Account("host", hash_made_password("the host's"), "local", is_host=True),
)
PASSWORDS = {"ada": "ada's own", "bob": "bob's own", "guest": "shared", "host": "the host's"}


@contextmanager
def browser_of(address: str, name: str | None) -> Iterator[httpx.Client]:
    """A browser of its own at a studio's address, in which ``name`` is logged in; None: nobody."""
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        if name is not None:
            answer = client.post("/login", data={"name": name, "password": PASSWORDS[name]})
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
        yield client
