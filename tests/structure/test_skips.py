"""No test is left out without a word: what one needs of the machine is named in ``tests.needs``."""

from __future__ import annotations

import ast

import pytest

from tests.needs import NEEDS, left_out
from tests.structure.sources import python_files, source_of, tree_of

WHERE = ("tests", "examples", "benchmarks")
MECHANISM = "tests/needs.py"
SKIPPING = {
    "skip",
    "skipif",
    "skipIf",
    "skipUnless",
    "importorskip",
    "xfail",
    "SkipTest",
    "skipTest",
}


def skips_in(tree: ast.AST) -> list[tuple[int, str]]:
    """Lines that would skip a test, or excuse its failing, by themselves."""
    return sorted(
        (node.lineno, name)
        for node in ast.walk(tree)
        if (name := getattr(node, "attr", getattr(node, "id", None))) in SKIPPING
    )


def returns_in(tree: ast.AST) -> list[tuple[int, str]]:
    """Lines at which a test ends early, and passes."""
    found = []
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            below: list[ast.AST] = list(test.body)
            while below:
                node = below.pop()
                if isinstance(node, ast.Return):
                    found.append((node.lineno, test.name))
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    below += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("search", [skips_in, returns_in])
def test_no_test_leaves_itself_out(search):
    files = [file for file in python_files(*WHERE) if file != MECHANISM]
    found = {file: lines for file in files if (lines := search(tree_of(file)))}
    assert found == {}, "say what the test needs by a mark of tests.needs"


def test_tests_that_leave_themselves_out_are_found():
    tree = ast.parse(
        "import pytest\n"
        "from unittest import SkipTest\n"
        "@pytest.mark.skipif(True, reason='')\n"
        "def test_a():\n"
        "    def nothing():\n"
        "        return 1\n"
        "    if nothing():\n"
        "        return\n"
        "    pytest.importorskip('numba')\n"
        "    raise SkipTest\n"
        "def helper():\n"
        "    return 2\n"
    )
    assert skips_in(tree) == [(3, "skipif"), (9, "importorskip"), (10, "SkipTest")]
    assert returns_in(tree) == [(8, "test_a")]


def test_each_need_is_one_of_some_test():
    sources = [source_of(file) for file in python_files(*WHERE)]
    assert [
        name for name in NEEDS if not any(f"pytest.mark.{name}" in each for each in sources)
    ] == []


def test_what_is_left_out_is_named_with_what_it_needs():
    skipped = [("tests/b.py::one", "nginx"), ("tests/a.py::two[x]", "nginx")]
    assert left_out(skipped) == [
        "Left out: 2 tests need nginx.",
        "    tests/a.py::two[x]",
        "    tests/b.py::one",
    ]
    many = [(f"tests/{name}.py::{number}", "Chromium") for name in "ab" for number in range(30)]
    assert left_out(many) == [
        "Left out: 60 tests need Chromium.",
        "    tests/a.py: 30",
        "    tests/b.py: 30",
    ]
