"""Lists of words for dynamic prompts: the text files below ``<home>/wildcards``.

A list is a file ``name.txt`` with a line for each word or phrase; lines that begin with ``#`` are
comments. In folders it is called ``folder/name``; blanks in a file's name are ``_`` in the list's.
Names are looked for among the files that there are and never put into a path.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.files import decode_text, write_whole

FOLDER = "wildcards"
ENDING = ".txt"
MAX_BYTES = 1_000_000  # of one list
MAX_LISTS = 2_000
MAX_FOLDERS = 5  # within one another
MAX_NAME = 100  # characters
MAX_NAME_BYTES = 255  # of a file or folder: Chinese letters have three
_SIGNS = re.compile(r"(\*\*|\*|\?)")
_NAME = re.compile(r"(?!.*__)[\w\-](?:[\w\-.]*[\w\-])?(?:/[\w\-](?:[\w\-.]*[\w\-])?)*")
_WRITABLE = re.compile(
    r"(?!.*__)(?!\.)[^\s,\\{}|$*?]+"
)  # in a prompt: the grammar's names without patterns
_UNSEEN = " \t\r\0\ufeff\u200b\u2060"  # beside words, from editors and web pages


class Wildcards:
    """The lists of one home folder.

    Args:
        home: the home folder; None: there are no lists.
    """

    def __init__(self, home: Path | None) -> None:
        self._folder = home / FOLDER if home is not None else None

    def names(self) -> list[str]:
        """What the lists are called, in the order of the alphabet."""
        return sorted(self._files(), key=str.casefold)

    def text(self, name: str) -> str:
        """A list as it is written.

        Raises:
            NotFound: there is none of this name.
            BadRequest: it is too long, or no text in UTF-8 or UTF-16.
        """
        path = self._files().get(name)
        try:
            if path is None:
                raise FileNotFoundError
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise _too_long(name, size)
            text = decode_text(path.read_bytes())
        except OSError as error:
            raise _none(name) from error
        if text is None:
            raise BadRequest(
                "The list {name} is not text in UTF-8. Save it with this encoding.",
                name=name[:MAX_NAME],
            )
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def lines(self, name: str) -> list[tuple[int, str]]:
        """The lines of a list that are no comments, with their numbers; raises as :meth:`text`."""
        lines = (line.strip(_UNSEEN) for line in self.text(name).split("\n"))
        return [
            (number, line)
            for number, line in enumerate(lines, start=1)
            if line and not line.startswith("#")
        ]

    def write(self, name: str, text: str) -> None:
        """Makes a list, or gives it other lines.

        Raises:
            BadRequest: the name or the text cannot be taken, or there are too many lists.
        """
        check_name(name)
        data = text.replace("\r\n", "\n").encode("utf-8", errors="replace")
        if len(data) > MAX_BYTES:
            raise _too_long(name, len(data))
        files = self._files()
        if name not in files and len(files) >= MAX_LISTS:
            raise BadRequest(
                "There are {count} lists of words; at most {limit} are taken. Delete one first.",
                count=len(files),
                limit=MAX_LISTS,
            )
        path = files.get(name) or self._folder / f"{name}{ENDING}"
        if not path.parent.resolve().is_relative_to(self._folder.resolve()):
            raise BadRequest(
                "The list {name} would lie outside the folder wildcards, to which a link leads. "
                "Choose another name.",
                name=name,
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)

    def delete(self, name: str) -> None:
        """Deletes a list.

        Raises:
            NotFound: there is none of this name.
        """
        path = self._files().get(name)
        if path is None:
            raise _none(name)
        path.unlink(missing_ok=True)

    def _files(self) -> dict[str, Path]:
        """Name → file. Links out of the folder, and names that nobody could write, are left out.

        Names are composed, as they are typed: some systems keep an é as e and its accent.
        """
        if self._folder is None or not self._folder.is_dir():
            return {}
        files: dict[str, Path] = {}
        root = self._folder.resolve()
        for folder, below, names in os.walk(root):
            here = Path(folder).relative_to(root)
            below[:] = sorted(below) if len(here.parts) < MAX_FOLDERS else []
            for file in sorted(names):
                path = Path(folder, file)
                if file.startswith(".") or not file.lower().endswith(ENDING):
                    continue
                name = unicodedata.normalize("NFC", (here / file).as_posix()[: -len(ENDING)])
                name = re.sub(r"\s+", "_", name.strip())
                if _WRITABLE.fullmatch(name) and _is_inside(path, root):
                    files[name] = path
                if len(files) >= MAX_LISTS:
                    return files
        return files


def _is_inside(path: Path, root: Path) -> bool:
    """Whether it is a file that lies below ``root``, whatever links lead to it."""
    try:
        inside = not path.is_symlink() or path.resolve().is_relative_to(root)
        return inside and path.is_file()
    except (OSError, RuntimeError):  # pathlib says RuntimeError of a link that leads to itself
        return False


def check_name(name: str) -> None:
    """Refuses what a list cannot be called.

    Raises:
        BadRequest: it has other signs or none, or leads out of the folder.
    """
    if not name:
        raise BadRequest("A list of words needs a name. Write one.")
    fits = len(name) <= MAX_NAME and name.count("/") <= MAX_FOLDERS
    if not fits or not _NAME.fullmatch(name):
        raise BadRequest(
            "A list of words cannot be called {name}: take up to {limit} letters, digits, - and "
            "single _, with / for at most {folders} folders.",
            name=name[:MAX_NAME],
            limit=MAX_NAME,
            folders=MAX_FOLDERS,
        )
    for part in f"{name}{ENDING}".split("/"):
        if (size := len(part.encode())) > MAX_NAME_BYTES:
            raise BadRequest(
                "The file of a list of words cannot be called {name}: that has {size} bytes; file "
                "systems take {limit}. Choose a shorter name.",
                name=part,
                size=size,
                limit=MAX_NAME_BYTES,
            )


def _fits(parts: list[str], name: str) -> bool:
    """Whether a name is what the signs of a pattern and the texts between them say.

    All ways to read it are followed at once: as an expression, ``*?*?*?…`` would try one after the
    other, of which there are more than can be counted.
    """
    ends = {0}  # where in the name what has been read so far may end
    for part in parts:
        if part == "?":
            ends = {end + 1 for end in ends if end < len(name) and name[end] != "/"}
        elif part in ("*", "**"):
            reached, open_ = set(), False
            for place in range(len(name) + 1):
                open_ = open_ or place in ends
                if open_:
                    reached.add(place)
                open_ = open_ and (part == "**" or name[place : place + 1] != "/")
            ends = reached
        else:
            ends = {end + len(part) for end in ends if name.startswith(part, end)}
        if not ends:
            return False
    return len(name) in ends


def match_names(pattern: str, names: list[str]) -> list[str]:
    """Those of ``names`` that a name, or a pattern with ``*``, ``**`` or ``?``, means.

    Raises:
        NotFound: there is none.
    """
    parts = _SIGNS.split(unicodedata.normalize("NFC", pattern).casefold())
    if not (found := [name for name in names if _fits(parts, name.casefold())]):
        raise NotFound(
            "There is no list of words {name} for __{name}__ in the folder wildcards. Take "
            "another one, or write \\__ for two strokes that are meant.",
            name=pattern[:MAX_NAME],
        )
    return found


def _none(name: str) -> NotFound:
    return NotFound("There is no list of words {name}.", name=name[:MAX_NAME])


def _too_long(name: str, size: int) -> BadRequest:
    return BadRequest(
        "The list {name} has {value} bytes; at most {limit} are taken. Split it into several.",
        name=name[:MAX_NAME],
        value=size,
        limit=MAX_BYTES,
    )
