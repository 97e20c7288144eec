"""No test is left out without a word: what one needs of the machine is named in ``tests.needs``."""

from __future__ import annotations

import ast

import pytest

from tests.needs import NEEDS, summary_lines
from tests.structure.sources import python_files, source_of, tree_of

WHERE = ("tests", "examples", "benchmarks")
MECHANISM = "tests/needs.py"
SKIPPING = {"skip", "skipif", "skipIf", "skipUnless", "importorskip", "xfail", "SkipTest"}
THEIRS = ("pytest", "unittest", "mark")  # gr.skip is what an event of the page leaves as it is


def skips_in(tree: ast.AST) -> list[tuple[int, str]]:
    """Lines that would skip a test, or excuse its failing, by themselves."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SKIPPING:
            if ast.unparse(node).startswith(THEIRS):
                found.append((node.lineno, node.attr))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(THEIRS):
            found += [(node.lineno, each.name) for each in node.names if each.name in SKIPPING]
    return sorted(found)


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
    assert skips_in(tree) == [(2, "SkipTest"), (3, "skipif"), (9, "importorskip")]
    assert returns_in(tree) == [(8, "test_a")]


def test_each_need_is_one_of_some_test():
    sources = [source_of(file) for file in python_files(*WHERE)]
    assert [
        name for name in NEEDS if not any(f"pytest.mark.{name}" in each for each in sources)
    ] == []


def test_what_is_left_out_is_named_with_what_it_needs():
    skipped = [("tests/b::one", "nginx"), ("tests/a::two[x]", "nginx")]
    assert summary_lines(skipped) == [
        "Left out (2) without nginx:",
        "    tests/a::two[x]",
        "    tests/b::one",
    ]
    many = [(f"tests/{name}::{number}", "Chromium") for name in "ab" for number in range(30)]
    assert summary_lines(many) == [
        "Left out (60) without Chromium:",
        "    tests/a: 30",
        "    tests/b: 30",
    ]
