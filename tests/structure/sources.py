"""The repository's files as the tests of its structure read them: modules, imports and names."""

from __future__ import annotations

import ast
import gc
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("pipelines", "studio")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tracked_files() -> tuple[str, ...]:
    """All files that the repository holds or would hold, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(file for file in done.stdout.splitlines() if (ROOT / file).is_file())


def python_files(*folders: str) -> list[str]:
    """The Python files in some of the top folders; all there are without any."""
    return [
        file
        for file in tracked_files()
        if file.endswith(".py") and (not folders or file.partition("/")[0] in folders)
    ]


@cache
def source_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def tree_of(file: str) -> ast.Module:
    gc.disable()  # a search for garbage among all trees finds none, and takes three times as long
    try:
        return ast.parse(source_of(file), filename=file)
    finally:
        gc.enable()


@cache
def statements_of(file: str) -> tuple[ast.stmt, ...]:
    """All statements of a file, however deep: a tenth of the nodes that :func:`ast.walk` visits."""
    found: list[ast.stmt] = []
    rest: list[ast.AST] = [tree_of(file)]
    while rest:
        node = rest.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            below = getattr(node, name, ())
            if isinstance(below, list):  # a lambda's is an expression
                rest += below
        if isinstance(node, ast.stmt):
            found.append(node)
    return tuple(sorted(found, key=lambda node: node.lineno))


def module_name(file: str) -> str:
    """The dotted name that ``file`` is imported by."""
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@cache
def product_modules() -> dict[str, str]:
    """The files of ``pipelines`` and ``studio`` by their dotted names."""
    return {module_name(file): file for file in python_files(*PRODUCT)}


def imports_of(file: str) -> Iterator[tuple[str, int]]:
    """All that a file imports, wherever in it and for types only too, with lines.

    ``from a import b`` is yielded as ``a.b``, whether ``b`` is a module or not.
    """
    for node in statements_of(file):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def imported_module(name: str) -> str | None:
    """The longest beginning of a dotted name that is a module of the product's, if any is."""
    while name and name not in product_modules():
        name = name.rpartition(".")[0]
    return name or None


@cache
def import_graph() -> dict[str, dict[str, int]]:
    """What each module of the product imports of the others: names with the first line."""
    graph: dict[str, dict[str, int]] = {}
    for module, file in product_modules().items():
        edges = graph[module] = {}
        for name, line in imports_of(file):
            target = imported_module(name)
            if target is not None and target != module:
                edges.setdefault(target, line)
    return graph


def docstrings_of(file: str) -> Iterator[ast.Constant]:
    """The nodes of all docstrings in a file."""
    for node in (tree_of(file), *statements_of(file)):
        if isinstance(node, Documented) and node.body and isinstance(node.body[0], ast.Expr):
            value = node.body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value
