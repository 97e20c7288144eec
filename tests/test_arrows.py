"""The arrows between the parts run one way: app → studio → pipelines → presets."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "openvino", "scipy", "sklearn",
         "numba", "umap")  # fmt: skip


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """All modules that a file imports, wherever in it, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield str(node.module), node.lineno


def wrong_imports(folder: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module, line in imports_of(path)
        if module.partition(".")[0] in forbidden
    ]


def test_pipelines_know_nothing_of_the_studio_or_the_web():
    web = {"gradio", "gradio_client", "fastapi", "starlette", "uvicorn", "sqlite3"}
    assert wrong_imports("pipelines", {"studio", "app", "tests", "benchmarks"} | web) == []


def test_studio_knows_nothing_of_the_command_line():
    assert wrong_imports("studio", {"app", "tests", "benchmarks"}) == []


@pytest.mark.parametrize(
    "modules",
    [
        "studio.accounts, studio.server",
        "studio.page",
        "pipelines.catalog, pipelines.cache, pipelines.engines, pipelines.diffusion.samplers, "
        "pipelines.diffusion.styles, pipelines.diffusion.resolving",
    ],
)
def test_the_page_needs_no_heavy_library(modules: str):
    code = f"import sys, {modules}; print(*(sys.modules.keys() & {set(HEAVY)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
