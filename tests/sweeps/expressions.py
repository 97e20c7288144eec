"""The regular expressions of the repository: where they are, and texts that are hard on each."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from re import _constants as codes  # no other module says what an expression is made of
from re import _parser as parser

from pipelines.core.errors import UserError

FOLDERS = ("pipelines", "studio")
METHODS = frozenset({"match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"})
PIECES = (" ", "a", "0", "a ", "0 ", ".", ",", ":", ": ", '"', "\\", '\\"', "[", "(", "{", "<", "x",
          "-", "_", "/", "\n", "A", "é", "e\u0301", "\u3000", "杯")  # fmt: skip
ENDS = ("", "!", "\0", ")")
SMALL = 20_000  # characters
FLOOR = 0.02  # seconds of the processor: what is quicker is not measured
GROWTH = 3.2  # that a text twice as long may take; the square would take 4


@dataclass(frozen=True)
class Use:
    """One call of a function of the module ``re``.

    Attributes:
        module: where it stands.
        name: what the expression is called in its module; its source where it has no name.
        methods: that it is used by; empty where other modules use it.
        written: source and flags where it has no name; None where it has, or where it is put
            together within a function.
        is_built: whether it is.
    """

    module: str
    name: str
    methods: frozenset[str]
    written: tuple[str, int] | None = None
    is_built: bool = False

    @property
    def label(self) -> str:
        return f"{self.module}.{self.name}"

    def pattern(self) -> re.Pattern:
        if self.written is not None:
            return re.compile(*self.written)
        return getattr(importlib.import_module(self.module), self.name)


@cache
def uses() -> tuple[Use, ...]:
    """All calls of ``re`` in :data:`FOLDERS`, found in their source."""
    found: list[Use] = []
    for folder in FOLDERS:
        for path in sorted(Path(folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "import re\n" not in source and "from re import" not in source:
                continue  # most have none, and each worker of the tests looks
            tree = ast.parse(source)
            if any(isinstance(node, ast.ImportFrom) and node.module == "re" for node in
                   ast.walk(tree)):  # fmt: skip
                raise AssertionError(f"{path}: import re as a module, so that its calls are found")
            module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            found += _uses_in(module, tree)
    return tuple(found)


def _uses_in(module: str, tree: ast.Module) -> Iterator[Use]:
    names = {
        id(node.value): target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    called: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called.setdefault(node.value.id, set()).add(node.attr)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                and node.func.attr in {*METHODS, "compile"}):  # fmt: skip
            continue
        if name := names.get(id(node)):
            yield Use(module, name, METHODS & called.get(name, set()))
            continue
        methods = METHODS & {node.func.attr}
        source = ast.unparse(node.args[0])
        try:
            written = ast.literal_eval(node.args[0]), _flags(node)
        except ValueError:
            yield Use(module, source, methods, is_built=True)
        else:
            yield Use(module, source, methods, written)


def _flags(call: ast.Call) -> int:
    flags = 0
    for keyword in call.keywords:
        if keyword.arg == "flags":
            for node in ast.walk(keyword.value):
                if isinstance(node, ast.Attribute):
                    flags |= getattr(re, node.attr)
    return flags


def reader(pattern: re.Pattern, methods: frozenset[str] = frozenset()) -> Callable[[str], None]:
    """Uses an expression on a text in each of the ways in which its module does."""
    ways = [
        {
            "sub": lambda text: pattern.sub("", text),
            "subn": lambda text: pattern.sub("", text),
            "finditer": pattern.findall,
        }.get(method)
        or getattr(pattern, method)
        for method in sorted(methods or {"fullmatch", "findall", "sub"})
    ]

    def read(text: str) -> None:
        given = text.encode() if isinstance(pattern.pattern, bytes) else text
        for way in ways:
            if isinstance(pattern.pattern, bytes) and "sub" in methods:
                pattern.findall(given)
            else:
                way(given)

    return read


# --- texts ----------------------------------------------------------------------------------------


def attacks(pattern: re.Pattern) -> list[tuple[str, str]]:
    """Beginnings, and pieces to be repeated behind them, made from an expression's own parts."""
    source = pattern.pattern
    source = source.decode("latin-1") if isinstance(source, bytes) else source
    found: dict[tuple[str, str], None] = {("", piece): None for piece in PIECES}
    for texts in _sequences(parser.parse(source, pattern.flags & ~re.UNICODE)):
        starts = ["".join(texts[:at]) for at in range(len(texts))][-6:]
        pieces = [*texts, *map("".join, pairwise(texts)), "".join(texts)]
        pieces = [each for each in dict.fromkeys(pieces) if each][:40]
        found.update(dict.fromkeys(product(dict.fromkeys(["", *starts]), pieces)))
        found.update(dict.fromkeys(product(starts, (" ", "a", "0"))))
    return list(found)


def _sequences(parsed: parser.SubPattern) -> Iterator[list[str]]:
    """What each sequence within an expression matches, item by item."""
    yield [_sample([item]) for item in parsed]
    for code, value in parsed:
        if code is codes.BRANCH:
            for branch in value[1]:
                yield from _sequences(branch)
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from _sequences(value[2])
        elif code is codes.SUBPATTERN:
            yield from _sequences(value[3])
        elif code is codes.ATOMIC_GROUP:
            yield from _sequences(value)


def _sample(items: parser.SubPattern | list) -> str:
    """A short text that matches; lookarounds and references to groups are passed over."""
    words = []
    for code, value in items:
        if code is codes.LITERAL:
            words.append(chr(value))
        elif code is codes.IN:
            words.append(_member(value))
        elif code in (codes.ANY, codes.NOT_LITERAL):
            words.append("x" if value != ord("x") else "y")
        elif code is codes.BRANCH:
            words.append(_sample(value[1][0]))
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            words.append(_sample(value[2]) * min(max(value[0], 1), 40))
        elif code is codes.SUBPATTERN:
            words.append(_sample(value[3]))
        elif code is codes.ATOMIC_GROUP:
            words.append(_sample(value))
    return "".join(words)


def _member(values: list) -> str:
    """A character of a set."""
    for character in "xa1 _-.,:/A\n":
        inside = any(_holds(code, value, character) for code, value in values)
        if inside != (values[0][0] is codes.NEGATE):
            return character
    code, value = next(each for each in values if each[0] in (codes.LITERAL, codes.RANGE))
    return chr(value if code is codes.LITERAL else value[0])


def _holds(code: object, value: object, character: str) -> bool:
    if code is codes.LITERAL:
        return ord(character) == value
    if code is codes.RANGE:
        return value[0] <= ord(character) <= value[1]
    if code is codes.CATEGORY:
        sign = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[str(value).rsplit("_", 1)[-1]]
        return bool(re.match(sign, character)) != ("NOT" in str(value))
    return False


# --- time -----------------------------------------------------------------------------------------


def seconds(read: Callable[[str], object], text: str) -> float:
    """Of the processor; what ``read`` refuses is refused."""
    start = time.thread_time()
    with contextlib.suppress(UserError, ValueError):
        read(text)
    return time.thread_time() - start


def check(
    read: Callable[[str], object],
    pieces: list[tuple[str, str]] | tuple[str, ...] = PIECES,
    characters: int = SMALL,
    floor: float = FLOOR,
) -> None:
    """Asserts that twice the text takes about twice the time."""
    for piece, end in product(pieces, ENDS):
        start, piece = piece if isinstance(piece, tuple) else ("", piece)
        short = start + piece * (characters // len(piece)) + end
        if seconds(read, short) < floor:
            continue
        long = start + piece * (2 * characters // len(piece)) + end
        assert any(seconds(read, long) < GROWTH * seconds(read, short) for _ in range(4)), (
            start,
            piece,
            end,
        )
