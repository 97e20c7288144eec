"""Makes users of the studio: ``python -m studio.accounts add NAME [--file FILE] [--host]``."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from pipelines.core.errors import BadRequest
from studio.core.accounts.accounts import HOST, check_name, read_accounts
from studio.core.accounts.passwords import MAX_PASSWORD, hash_password, private


def main(arguments: list[str] | None = None) -> int:
    """``python -m studio.accounts add NAME [--file FILE] [--host]``."""
    parser = argparse.ArgumentParser(
        prog="python -m studio.accounts",
        description="Makes the lines of a file of users.",
    )
    add = parser.add_subparsers(dest="command", required=True).add_parser(
        "add", help="ask for a password and make a user's line"
    )
    add.add_argument("name")
    add.add_argument("--file", type=Path, help="append to this file; otherwise print the line")
    add.add_argument("--host", action="store_true", help="this user may do all that the host may")
    flags = parser.parse_args(arguments)
    try:
        check_name(flags.name)
    except BadRequest as error:
        parser.error(str(error))
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not 8 <= len(password) <= MAX_PASSWORD:
        parser.error("A password needs at least 8 characters.")
    line = f"{flags.name}:{hash_password(password)}" + (f":{HOST}" if flags.host else "")
    if flags.file is None:
        print(line)
        return 0
    known = {account.name for account in read_accounts(flags.file)} if flags.file.exists() else ()
    if flags.name in known:
        parser.error(f"{flags.file} has a user {flags.name} already; delete the line first.")
    with open(flags.file, "a", encoding="utf-8", opener=private) as file:
        file.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
