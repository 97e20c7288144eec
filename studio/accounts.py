"""Makes and removes users of the studio.

``python -m studio.accounts add NAME [--file FILE] [--host]`` asks for a password and makes a user's
line; ``remove NAME [--file FILE] [--home FOLDER]`` deletes all that a user keeps, while no studio
runs on that home folder.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import threading
from pathlib import Path

from pipelines.core.errors import UserError
from studio.core.accounts.accounts import HOST, check_name, read_accounts
from studio.core.accounts.deletion import EverythingRequest, OwnerDeletion
from studio.core.accounts.passwords import MAX_PASSWORD, hash_password, private
from studio.core.home import find_home


def main(arguments: list[str] | None = None) -> int:
    """``python -m studio.accounts add | remove NAME``."""
    parser = argparse.ArgumentParser(
        prog="python -m studio.accounts", description="Makes and removes users of the studio."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="ask for a password and make a user's line")
    add.add_argument("name")
    add.add_argument("--file", type=Path, help="append to this file; otherwise print the line")
    add.add_argument("--host", action="store_true", help="this user may do all that the host may")
    remove = commands.add_parser("remove", help="delete all that a user keeps, keys included")
    remove.add_argument("name")
    remove.add_argument("--file", type=Path, help="take the user's line out of this file too")
    remove.add_argument("--home", help="the studio's home folder")
    flags = parser.parse_args(arguments)
    try:
        check_name(flags.name)
        known = read_accounts(flags.file) if flags.file and flags.file.exists() else []
    except UserError as error:
        parser.error(str(error))
    is_known = flags.name in {account.name for account in known}
    if flags.command == "remove":
        if flags.file and not is_known:
            parser.error(f"{flags.file} has no user {flags.name}.")
        return _remove(flags)
    if is_known:
        parser.error(f"{flags.file} has a user {flags.name} already; remove that one first.")
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not 8 <= len(password) <= MAX_PASSWORD:
        parser.error("A password needs at least 8 characters.")
    line = f"{flags.name}:{hash_password(password)}" + (f":{HOST}" if flags.host else "")
    if flags.file is None:
        print(line)
        return 0
    with open(flags.file, "a", encoding="utf-8", opener=private) as file:
        file.write(line + "\n")
    return 0


def _remove(flags: argparse.Namespace) -> int:
    from studio.app import Options, open_studio  # the page's libraries take seconds

    try:
        studio = open_studio(Options(find_home(flags.home)))
        try:
            studio.jobs.recover()
            deletion = OwnerDeletion(studio.keepers, studio.jobs.cancel_all)
            *_, result = deletion.run(EverythingRequest(), None, threading.Event(), flags.name)
            for key in studio.keys.list(flags.name):
                studio.keys.revoke(flags.name, key.id)
        finally:
            studio.close()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    if flags.file is not None:
        _take_line_out(flags.file, flags.name)
    print(f"{flags.name} is removed: {result.data['deleted']} things are deleted.")
    return 0


def _take_line_out(path: Path, name: str) -> None:
    lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    rest = path.with_name(f".{path.name}.rest")
    with open(rest, "w", encoding="utf-8", opener=private) as file:
        file.writelines(line for line in lines if line.strip().partition(":")[0] != name)
    os.replace(rest, path)


if __name__ == "__main__":
    sys.exit(main())
