"""Colours are defined in one place."""

from __future__ import annotations

import re

from tests.structure.sources import source_of, tracked_files

PALETTE = "studio/page/theme.py"
COLOUR = re.compile(
    r"""#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})(?=["'\s;,)<%]|$)"""
    r"|(?:rgba?|hsla?)\(\s*[\d.]+"
)

# Files that still define colours of their own, with how many. The list may only get shorter, and
# the numbers smaller.
KNOWN = {
    "assets/canvas/drawing.js": 2,
    "assets/clustering.css": 5,
    "assets/clustering/colours.js": 31,
    "assets/clustering/vector.js": 2,
    "assets/clustering_charts.css": 5,
    "assets/inspect.css": 24,
    "assets/page.css": 28,
    "assets/shorten.css": 6,
    "studio/page/components/canvas.py": 8,
    "studio/features/clustering/charts/colours.py": 10,
    "studio/features/labs/inspect_maps.py": 10,
    "studio/api/login.py": 5,
    "studio/page/views.py": 3,
}


def assert_shrinks(found: dict[str, int], known: dict[str, int]) -> None:
    """Nothing is found that is not known, nor more of it; and what is known is still there."""
    new = {name: count for name, count in found.items() if count > known.get(name, 0)}
    gone = sorted(known.keys() - found.keys())
    assert not new, f"only { ({name: known.get(name, 0) for name in new}) } is known"
    assert not gone, "take these off the list"


def test_colours_are_defined_in_one_place():
    found = {
        file: count
        for file in tracked_files()
        if file.startswith(("studio/", "assets/"))
        and file.endswith((".py", ".js", ".css", ".html", ".svg"))
        and file != PALETTE
        and (count := len(COLOUR.findall(source_of(file))))
    }
    assert_shrinks(found, KNOWN)


def test_colours_are_found():
    found = COLOUR.findall('fill="#fff" stroke: #0072B2; rgba(0, 0, 0, 0.5) href="#tab" #1')
    assert found == ["#fff", "#0072B2", "rgba(0"]
