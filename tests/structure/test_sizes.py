"""A module has one subject, a folder few modules."""

from __future__ import annotations

from collections import Counter

from tests.structure.sources import python_files, source_of, tracked_files

MAX_LINES = 700
MAX_MODULES = 16
SCRIPTS = (".py", ".js", ".css")


def test_no_module_is_long():
    long = {
        file: lines
        for file in tracked_files()
        if file.endswith(SCRIPTS) and (lines := source_of(file).count("\n")) > MAX_LINES
    }
    assert long == {}


def test_no_folder_holds_many_modules():
    """``__init__.py`` is not counted."""
    modules = Counter(
        file.rpartition("/")[0]
        for file in tracked_files()
        if file.endswith(SCRIPTS) and not file.endswith("__init__.py")
    )
    crowded = {folder for folder, count in modules.items() if count > MAX_MODULES}
    assert crowded == set()


def test_sources_are_read():
    assert len(python_files("pipelines", "studio")) > 100
