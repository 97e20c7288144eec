"""Every function of the product is called by the product: none is there for its tests alone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.structure.sources import (
    PRODUCT,
    docstrings_of,
    python_files,
    source_of,
    statements_of,
    tree_of,
)

CALLERS = (*PRODUCT, "app.py", "benchmarks", "examples")
# Decorators of functions that others call all the same.
STILL_CALLED = {"property", "cached_property", "setter", "staticmethod", "classmethod", "cache",
                "lru_cache", "contextmanager", "asynccontextmanager", "abstractmethod"}  # fmt: skip
WORD = re.compile(r"\w+")
COMMENT = re.compile(r"(?m)#.*$")


def words_of(file: str) -> Counter[str]:
    """How often each word stands in a file, docstrings and comments aside."""
    words = Counter(WORD.findall(COMMENT.sub("", source_of(file))))
    for docstring in docstrings_of(file):
        words.subtract(WORD.findall(COMMENT.sub("", docstring.value)))
    return words


def named_functions(tree: ast.AST, own: set[str]) -> Iterator[ast.FunctionDef]:
    """The functions that somebody must call by their names.

    Not those that a library calls: where a decorator takes them, or a class of its own calls them.

    Args:
        tree: of a module, or a class.
        own: the names of the product's classes.
    """
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
            if bases <= own | {"ABC", "Protocol", "Enum", "Exception", "NamedTuple"}:
                yield from named_functions(node, own)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.unparse(each) for each in node.decorator_list]
            if all(each.split("(")[0].split(".")[-1] in STILL_CALLED for each in decorators):
                yield node


Found = list[tuple[str, ast.FunctionDef]]


@pytest.fixture(scope="module")
def functions() -> Found:
    """All that are to be called, with their files."""
    files = python_files(*PRODUCT)
    own = {
        node.name
        for file in files
        for node in statements_of(file)
        if isinstance(node, ast.ClassDef)
    }
    return [
        (file, node)
        for file in files
        for node in named_functions(tree_of(file), own)
        if not node.name.startswith("__")
    ]


@pytest.fixture(scope="module")
def words() -> dict[str, Counter[str]]:
    return {file: words_of(file) for file in python_files(*CALLERS)}


def only_tested(functions: Found, words: dict[str, Counter[str]]) -> list[str]:
    """Those whose names stand nowhere but where they are defined, as ``file:line name``."""
    everywhere: Counter[str] = Counter()
    for each in words.values():
        everywhere.update(each)
    definitions = Counter(node.name for _, node in functions)
    return [
        f"{file}:{node.lineno} {node.name}"
        for file, node in functions
        if everywhere[node.name] <= definitions[node.name]
    ]


def test_no_function_is_there_for_its_tests_alone(functions, words):
    assert only_tested(functions, words) == []


def test_functions_without_callers_are_found(functions, words):
    """Where those that call them are not read: a function, and a method."""
    calling = {"pipelines/core/child_process.py", "studio/features/chat/answers/answers.py"}
    rest = {file: each for file, each in words.items() if file not in calling}
    names = {each.split()[1] for each in only_tested(functions, rest)}
    assert {"environment_without_secrets", "take_or_give_back"} <= names
