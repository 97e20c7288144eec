"""Answers that a program exports as HTML, brought back to Markdown.

The HTML is that of answers: paragraphs, headings, lists, tables, code, emphasis and links. Of other
elements the words stay. A text of any length takes time in proportion to it: it is cut at its
angle brackets, and nothing is looked for twice.
"""

from __future__ import annotations

import re
from html import unescape

_SPACE = re.compile(r"\s+")
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "s": "~~", "del": "~~"}
_BLOCKS = {"p", "div", "section", "article", "blockquote", "ul", "ol", "table", "thead", "tbody",
           "hr", "li", "tr", "pre", *_HEADINGS}  # fmt: skip
_UNSEEN = {"script", "style", "head", "title"}
_DEEPEST = 20  # lists within lists: an indent for each would make a long text longer still


def markdown_of(html: str) -> str:
    """The Markdown of an answer."""
    first, *pieces = html.split("<")
    writer = _Writer()
    writer.add(first)
    for piece in pieces:
        tag, closed, words = piece.partition(">")
        if closed and (tag[:1].isalpha() or tag[:1] in ("/", "!")):
            name = tag.strip("/").split(None, 1)[0].lower() if tag.strip("/ ") else ""
            if tag.startswith("/"):
                writer.end(name)
            else:
                writer.begin(name, tag)
            writer.add(words)
        else:
            writer.add(f"<{piece}")
    return writer.finish()


class _Writer:
    """Puts blocks of Markdown one below the other."""

    def __init__(self) -> None:
        self._blocks: list[tuple[str, bool]] = []  # and whether it stands close to the last
        self._words: list[str] = []
        self._lists: list[int | None] = []  # number of the next item, None without numbers
        self._links: list[str] = []
        self._in_list = False  # whether the last block is an item
        self._mark = ""  # before the next block: of an item, a heading, a quotation
        self._quotes = self._code = self._unseen = 0
        self._row: list[str] | None = None
        self._rows = 0

    def add(self, words: str) -> None:
        """Words as they stand in the HTML."""
        if self._unseen:
            return
        words = unescape(words)
        self._words.append(words if self._code else _SPACE.sub(" ", words))

    def begin(self, name: str, tag: str) -> None:
        if name in _UNSEEN:
            self._unseen += 1
        elif name in _BLOCKS:
            self._close()
        if name in _HEADINGS:
            self._mark = _HEADINGS[name]
        elif name in _MARKS or (name == "code" and not self._code):
            self._words.append(_MARKS.get(name, "`"))
        elif name == "br":
            self._words.append("\n")
        elif name == "hr":
            self._blocks.append(("---", False))
        elif name in ("ul", "ol"):
            self._lists.append(1 if name == "ol" else None)
        elif name == "li":
            self._mark = self._item()
        elif name == "blockquote":
            self._quotes += 1
        elif name == "pre":
            self._code += 1
        elif name == "table":
            self._rows = 0
        elif name == "tr":
            self._row = []
        elif name == "a":
            _, _, address = tag.partition('href="')
            self._links.append(unescape(address.partition('"')[0]))
            self._words.append("[")

    def end(self, name: str) -> None:
        if name in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif name in ("td", "th") and self._row is not None:
            cell = "".join(self._words).strip().replace("|", "\\|").replace("\n", " ")
            self._words = []
            self._row.append(cell)
        elif name == "tr" and self._row is not None:
            self._end_row(self._row)
        elif name == "pre" and self._code:
            code = "".join(self._words).strip("\n")
            self._words, self._code = [], self._code - 1
            fence = "````" if "```" in code else "```"
            self._blocks.append((f"{fence}\n{code}\n{fence}", False))
        elif name in _BLOCKS:
            self._close()
        if name in _MARKS or (name == "code" and not self._code):
            self._words.append(_MARKS.get(name, "`"))
        elif name in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif name == "blockquote":
            self._quotes = max(0, self._quotes - 1)
        elif name == "a" and self._links:
            self._words.append(f"]({self._links.pop()})")
        elif name in _HEADINGS:
            self._mark = ""

    def finish(self) -> str:
        self._close()
        pieces: list[str] = []
        for block, is_close in self._blocks:
            if pieces:
                pieces.append("\n" if is_close else "\n\n")
            pieces.append(block)
        return "".join(pieces)

    def _close(self) -> None:
        """Ends a block, should it have words."""
        words = "".join(self._words).strip()
        self._words = []
        if not words:
            return
        if self._row is not None:  # a paragraph within a cell
            self._words = [words, " "]
            return
        is_item, is_close = bool(self._lists), bool(self._lists) and self._in_list
        self._in_list = is_item
        self._blocks.append(("> " * min(self._quotes, _DEEPEST) + self._mark + words, is_close))
        self._mark = "  " * min(len(self._lists), _DEEPEST) if is_item else ""

    def _item(self) -> str:
        if not self._lists:
            return "- "
        number = self._lists[-1]
        if number is not None:
            self._lists[-1] = number + 1
        indent = "   " * min(len(self._lists) - 1, _DEEPEST)
        return f"{indent}- " if number is None else f"{indent}{number}. "

    def _end_row(self, row: list[str]) -> None:
        self._row, self._words = None, []
        self._blocks.append((f"| {' | '.join(row)} |", self._rows > 0))
        if self._rows == 0:
            self._blocks.append(("|" + "---|" * len(row), True))
        self._rows += 1
