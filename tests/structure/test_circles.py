"""No modules of the product import one another in a circle, not even for types only."""

from __future__ import annotations

from tests.structure.sources import import_graph


def circles(graph: dict[str, dict[str, int]]) -> list[list[str]]:
    """The strongly connected components of two or more modules, each sorted (Tarjan, 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        path.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
            if target in path:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == index[module]:
            start = path.index(module)
            component = path[start:]
            del path[start:]
            if len(component) > 1:
                found.append(sorted(component))

    for module in graph:
        if module not in index:
            visit(module)
    return sorted(found)


def test_circles_are_found():
    graph = {"a": {"b": 1}, "b": {"c": 1, "d": 1}, "c": {"a": 1}, "d": {"e": 1}, "e": {}}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_modules_import_one_another_in_a_circle():
    graph = import_graph()
    edges = [
        f"{module} imports {target} (line {line})"
        for circle in circles(graph)
        for module in circle
        for target, line in graph[module].items()
        if target in circle
    ]
    assert edges == []
