"""Modules with routes keep nothing between requests, and what waits does not wait in the loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.structure.sources import product_modules, tree_of

# What a module that has a router may make when it is imported: nothing that requests change.
HARMLESS = {"APIRouter", "Depends", "TypeVar", "re.compile"}
# What a coroutine may call of the studio's services: it waits for nothing.
QUICK = {"studio.keys.check_request", "studio.jobs.on_job_end"}


def modules_with_routes() -> dict[str, ast.Module]:
    trees = {
        name: tree_of(file)
        for name, file in product_modules().items()
        if name.startswith("studio.")
    }
    return {name: tree for name, tree in trees.items() if "APIRouter" in {*made_at_import(tree)}}


def made_at_import(tree: ast.Module) -> Iterator[str]:
    """What the assignments at the top of a module call."""
    for statement in tree.body:
        value = getattr(statement, "value", None)
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(value, ast.Call):
            yield ast.unparse(value.func)


def calls_in_the_loop(tree: ast.AST) -> Iterator[str]:
    """What the coroutines of a module call of the studio's services themselves.

    A database or a disk makes everybody wait that the event loop serves; so such a call is handed
    to a thread, as a function that is not called here.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            for statement in node.body:
                yield from filter(_is_service, _calls(statement))


def _calls(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return
    if isinstance(node, ast.Call):
        yield ast.unparse(node.func)
    for below in ast.iter_child_nodes(node):
        yield from _calls(below)


def _is_service(called: str) -> bool:
    return called.startswith(("studio.", "self.studio.")) and called.count(".") > 1


def test_no_module_with_a_router_keeps_what_requests_change():
    found = modules_with_routes()
    assert len(found) > 15
    others = {name: {*made_at_import(tree)} - HARMLESS for name, tree in found.items()}
    # A feature is a description of itself that nothing changes.
    assert {name: made for name, made in others.items() if made - {"Feature"}} == {}


def test_no_coroutine_of_a_route_waits_for_a_service():
    found = {
        name: {*calls_in_the_loop(tree)} - QUICK for name, tree in modules_with_routes().items()
    }
    assert {name: called for name, called in found.items() if called} == {}


def test_calls_in_the_loop_are_found():
    tree = ast.parse(
        "async def handle(studio):\n"
        "    def work():\n"
        "        studio.jobs.one()\n"
        "    await run_sync(studio.jobs.two, lambda: studio.jobs.three())\n"
        "    await run_sync(work)\n"
        "    return str(studio.jobs.four(studio.gallery.five()))\n"
    )
    assert {*calls_in_the_loop(tree)} == {"studio.jobs.four", "studio.gallery.five"}
