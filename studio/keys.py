"""Makes, lists and revokes keys for the API.

``python -m studio.keys make NAME | list | revoke ID [--home FOLDER]``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from pipelines.core.errors import UserError
from studio.core.accounts.accounts import LOCAL, Owner, check_name
from studio.core.accounts.keys import Keys
from studio.core.home import find_home, prepare_home
from studio.core.settings import StoredSettings
from studio.core.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m studio.keys make NAME | list | revoke ID [--home FOLDER]``."""
    flags = _flags(arguments)
    try:
        # No HomeLock: SQLite lets the running studio and this command write in turn.
        store = Store(prepare_home(find_home(flags.home)))
        try:
            _do(flags, Keys(store, StoredSettings(store)))
        finally:
            store.close()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--home", help="the studio's home folder")
    parser = argparse.ArgumentParser(
        prog="python -m studio.keys",
        description="Makes, lists and revokes keys for the API.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", parents=[shared], help="make a key; it is shown this once")
    make.add_argument("name", help="what will use it")
    make.add_argument("--owner", default=LOCAL, help="a user's name, to whom its requests belong")
    make.add_argument("--requests", type=int, help="at most so many a minute; 0 is no limit")
    make.add_argument("--tokens", type=int, help="at most so many a minute; 0 is no limit")
    commands.add_parser("list", parents=[shared], help="list the keys of all owners")
    revoke = commands.add_parser("revoke", parents=[shared], help="end a key")
    revoke.add_argument("id", help="as the list shows it")
    return parser.parse_args(arguments)


def _do(flags: argparse.Namespace, keys: Keys) -> None:
    match flags.command:
        case "make":
            # Whoever can write to the home folder is a host already.
            name = flags.owner if flags.owner == LOCAL else check_name(flags.owner)
            owner = Owner(name, name, is_host=True)
            _, token = keys.make(owner, flags.name, flags.requests, flags.tokens)
            print(token)
            print("Keep it: it is not shown again.", file=sys.stderr)
        case "list":
            for key in keys.all_keys():
                state = f"revoked {_day(key.revoked)}" if key.revoked else "valid"
                print(f"{key.id}  …{key.ending}  {key.name}  ({key.owner}, {state}, "
                      f"made {_day(key.created)}, last used {_day(key.used)})")  # fmt: skip
        case "revoke":
            owner = next((each.owner for each in keys.all_keys() if each.id == flags.id), "")
            key = keys.revoke(owner, flags.id)
            print(f"{key.name} (…{key.ending}) is revoked.")


def _day(moment: float | None) -> str:
    return "never" if moment is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


if __name__ == "__main__":
    sys.exit(main())
