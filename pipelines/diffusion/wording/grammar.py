"""Dynamic prompts, read: choices, lists of words and variables.

``{a|b}`` is one of several, ``{2::a|b}`` weighs them, ``{2$$a|b|c}`` takes two,
``{1-2$$ and $$a|b}`` one or two with what stands between them; ``__name__`` is a line of the list
of that name; ``${x=a}`` says what ``${x}`` stands for, ``${x=!a}`` once for all its uses. All of it
nests. The grammar is that of the extension sd-dynamic-prompts. Braces without ``|`` and ``$$`` are
plain text, as some models read JSON; of ``[a|b]`` the stroke belongs to the bracket. A backslash
makes the next character plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.core.errors import BadRequest

MAX_DEPTH = 12  # of braces within braces
_SEPARATOR = ", "

_SPECIAL = re.compile(r"\\.|\$\{|\{|__((?:(?!__)[^\s,\\{}|$])+)__", re.DOTALL)
_BRACKET = re.compile(r"\\.|[\[\]{}]", re.DOTALL)
_COUNT = re.compile(r"\s*(?:(\d{1,6})|(\d{0,6})-(\d{0,6}))\s*\$\$")
_BETWEEN = re.compile(r"((?:\\.|[^\\{}|$]|\$(?!\$))*)\$\$", re.DOTALL)
_WEIGHT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})::")
_VARIABLE = re.compile(r"\s*(\w{1,60})\s*(?:(=!?|:)|(?=\}))")
_PLAIN = re.compile(r"\\([{}|]|_(?=_)|\$(?=\{))")


@dataclass(frozen=True, slots=True)
class Option:
    """One of the things that are chosen from."""

    weight: float
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Some of several options.

    Attributes:
        least, most: how many; None is all of them.
        between: what stands between two.
    """

    options: tuple[Option, ...]
    least: int = 1
    most: int | None = 1
    between: str = _SEPARATOR


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A line of a list of words, or of several where the name has ``*`` or ``?``."""

    name: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What a variable stands for; ``once``: its words are chosen here, else at each use anew."""

    name: str
    nodes: tuple[Node, ...]
    once: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """The use of a variable; ``default`` is taken where it has none."""

    name: str
    default: tuple[Node, ...] | None


Node = str | Choice | Wildcard | Definition | Variable


def is_dynamic(text: str) -> bool:
    """Whether a text has choices, lists or variables; one that cannot be read counts as such.

    >>> is_dynamic("a {red|blue} mug"), is_dynamic("a {red} mug [in|out]")
    (True, False)
    """
    if not _SPECIAL.search(text):
        return False
    try:
        return any(not isinstance(node, str) for node in parse(text))
    except BadRequest:
        return True


def words_in(text: str) -> str:
    """The words of a text that stand in it themselves, without those of lists.

    >>> words_in("a {2::red|blue} __toys__, {2$$ and $$a|b}")
    'a  red blue   ,  a b'
    """

    def words(nodes: tuple[Node, ...]) -> Iterator[str]:
        for node in nodes:
            match node:
                case str():
                    yield node
                case Choice():
                    yield from (word for each in node.options for word in words(each.nodes))
                case Definition():
                    yield from words(node.nodes)
                case Variable():
                    yield from words(node.default or ())

    try:
        return " ".join(words(parse(text)))
    except BadRequest:  # it is being typed
        return text


def plain(text: str) -> str:
    r"""The text as it is read, without the backslashes that made its characters plain.

    >>> plain(r"\{a\} \(b\)")
    '{a} \\(b\\)'
    """
    return _PLAIN.sub(r"\1", text)


def escape(text: str) -> str:
    """The text with a backslash where it would be taken for a list or a variable."""
    return text.replace("${", "\\${").replace("__", "\\__")


def parse(text: str) -> tuple[Node, ...]:
    """Read a prompt.

    Raises:
        BadRequest: a brace is not closed or not opened, braces are nested too deeply, or a
            variable cannot be read.
    """
    if not _SPECIAL.search(text) and "}" not in text:
        return (text,) if text else ()
    return _Reader(text).nodes(0, len(text))


def parse_line(line: str) -> Option:
    """Read a line of a list, which may begin with its weight: ``2::red``.

    Raises:
        BadRequest: as :func:`parse` does.
    """
    weight, start = _weight(line, 0, len(line))
    return Option(weight, parse(line[start:]))


class _Reader:
    """A text with its pairs of brackets: the place of each that opens, and of what closes it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pairs: dict[int, int] = {}
        opened: list[int] = []
        depth = 0
        for match in _BRACKET.finditer(text):
            sign, at = match[0], match.start()
            if sign in ("[", "{"):
                opened.append(at)
                depth += sign == "{"
                if depth > MAX_DEPTH:
                    raise BadRequest(
                        "Braces are nested more than {limit} times. Take some of them out.",
                        limit=MAX_DEPTH,
                    )
            elif sign == "]":
                if opened and text[opened[-1]] == "[":
                    self.pairs[opened.pop()] = at
            elif sign == "}":
                while opened and text[opened[-1]] == "[":  # open brackets are plain text
                    opened.pop()
                if not opened:
                    raise BadRequest(
                        "The }} at character {place} closes nothing: {excerpt}. Take it out, or "
                        "write \\}} for a brace that is meant.",
                        place=at + 1,
                        excerpt=text[max(0, at - 20) : at + 1],
                    )
                self.pairs[opened.pop()] = at
                depth -= 1
        if unclosed := [at for at in opened if text[at] == "{"]:
            raise BadRequest(
                "The {{ at character {place} is not closed: {excerpt}. Close it with }}, or write "
                "\\{{ for a brace that is meant.",
                place=unclosed[0] + 1,
                excerpt=text[unclosed[0] : unclosed[0] + 20],
            )

    def nodes(self, start: int, end: int) -> tuple[Node, ...]:
        """What stands between two places."""
        found: list[Node] = []
        at = start
        while (match := _SPECIAL.search(self.text, at, end)) is not None:
            found.append(self.text[at : match.start()])
            if match[0].startswith("\\"):
                found.append(match[0])
                at = match.end()
            elif match[1] is not None:
                found.append(Wildcard(match[1]))
                at = match.end()
            else:
                opening = match.end() - 1
                read = self._variable if match[0] == "${" else self._braces
                found += read(opening, self.pairs[opening])
                at = self.pairs[opening] + 1
        found.append(self.text[at:end])
        return _join(found)

    def _braces(self, opening: int, closing: int) -> list[Node]:
        start = opening + 1
        least, most, between = 1, 1, _SEPARATOR
        if count := _COUNT.match(self.text, start, closing):
            start = count.end()
            least = most = int(count[1] or 0)
            if count[1] is None:
                least, most = int(count[2] or 0), int(count[3]) if count[3] else None
            if separator := _BETWEEN.match(self.text, start, closing):
                start, between = separator.end(), separator[1]
        ends = [*self._strokes(start, closing), closing]
        if count is None and len(ends) == 1:
            return ["{", *self.nodes(start, closing), "}"]
        if most is not None and least > most:
            raise BadRequest(
                "{excerpt} asks for at least {least} and at most {most}; the smaller number comes "
                "first.",
                excerpt=self.text[opening : opening + 20],
                least=least,
                most=most,
            )
        options = []
        for end in ends:
            weight, begin = _weight(self.text, start, end)
            options.append(Option(weight, self.nodes(begin, end)))
            start = end + 1
        if not any(option.weight for option in options):
            raise BadRequest(
                "All weights of {excerpt} are 0, so that there is nothing to choose. Give one of "
                "them more.",
                excerpt=self.text[opening : closing + 1][:40],
            )
        return [Choice(tuple(options), least, most, between)]

    def _variable(self, opening: int, closing: int) -> list[Node]:
        match = _VARIABLE.match(self.text, opening + 1, closing + 1)
        if match is None:
            raise BadRequest(
                "{excerpt} cannot be read. Write ${{name=words}} to say what a variable stands "
                "for, and ${{name}} to use it.",
                excerpt=self.text[opening - 1 : closing + 1][:40],
            )
        if match[2] is None:
            return [Variable(match[1], None)]
        nodes = self.nodes(match.end(), closing)
        if match[2] == ":":
            return [Variable(match[1], nodes)]
        return [Definition(match[1], nodes, match[2] == "=!")]

    def _strokes(self, start: int, end: int) -> list[int]:
        """The places of the ``|`` between options."""
        found, at = [], start
        while at < end:
            sign = self.text[at]
            if sign == "|":
                found.append(at)
            at = at + 2 if sign == "\\" else self.pairs.get(at, at) + 1
        return found


def _weight(text: str, start: int, end: int) -> tuple[float, int]:
    """An option's weight, and where its words begin."""
    match = _WEIGHT.match(text, start, end)
    return (float(match[1]), match.end()) if match else (1.0, start)


def _join(nodes: list[Node]) -> tuple[Node, ...]:
    """Neighbouring texts as one; empty ones are left out."""
    joined: list[Node] = []
    for node in nodes:
        if isinstance(node, str) and joined and isinstance(joined[-1], str):
            joined[-1] += node
        elif node != "":
            joined.append(node)
    return tuple(joined)
