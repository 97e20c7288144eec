"""A module has one subject, a folder few modules."""

from __future__ import annotations

from collections import Counter

from tests.structure.known import assert_shrinks
from tests.structure.sources import python_files, source_of, tracked_files

MAX_LINES = 700
MAX_MODULES = 16
SCRIPTS = (".py", ".js", ".css")

# Folders that still hold more modules, with how many at most. The list may only get shorter, and
# the numbers smaller.
KNOWN_FOLDERS = {
    "assets/clustering": 30,
    "pipelines": 21,
    "pipelines/chat": 25,
    "pipelines/chat/prune": 17,
    "pipelines/clustering": 53,
    "pipelines/diffusion": 20,
    "pipelines/dreambooth": 23,
    "pipelines/toybox": 25,
    "studio": 83,
    "studio/chat": 25,
    "studio/clustering": 27,
    "studio/tabs": 33,
    "tests/browser": 23,
    "tests/pipelines": 22,
    "tests/pipelines/chat": 23,
    "tests/pipelines/clustering": 27,
    "tests/pipelines/dreambooth": 18,
    "tests/studio": 62,
}
KNOWN_MODULES: dict[str, int] = {}


def test_no_module_is_long():
    long = {
        file: lines
        for file in tracked_files()
        if file.endswith(SCRIPTS) and (lines := source_of(file).count("\n")) > MAX_LINES
    }
    assert_shrinks(long, KNOWN_MODULES)


def test_no_folder_holds_many_modules():
    """``__init__.py`` is not counted."""
    modules = Counter(
        file.rpartition("/")[0]
        for file in tracked_files()
        if file.endswith(SCRIPTS) and not file.endswith("__init__.py")
    )
    crowded = {folder: count for folder, count in modules.items() if count > MAX_MODULES}
    assert_shrinks(crowded, KNOWN_FOLDERS)


def test_sources_are_read():
    assert len(python_files("pipelines", "studio")) > 100
