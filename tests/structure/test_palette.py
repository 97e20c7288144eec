"""Colours are defined in one place."""

from __future__ import annotations

import re

from studio.core.palette import TOKENS
from tests.structure.sources import source_of, tracked_files

PALETTE = "studio/core/palette.py"
COLOUR = re.compile(
    r"""#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})(?=["'\s;,)<%]|$)"""
    r"|(?:rgba?|hsla?)\(\s*[\d.]+"
)


def test_colours_are_defined_in_one_place():
    """What has no hue may be called by its name: white, black, none, transparent."""
    found = {
        file: colours
        for file in tracked_files()
        if file.startswith(("studio/", "assets/"))
        and file.endswith((".py", ".js", ".css", ".html", ".svg"))
        and file != PALETTE
        and (colours := COLOUR.findall(source_of(file)))
    }
    assert found == {}, f"put them into {PALETTE}"


def test_every_token_is_read_by_a_style_sheet():
    sheets = "".join(source_of(file) for file in tracked_files() if file.endswith(".css"))
    assert sorted(TOKENS.keys() - set(re.findall(r"var\(--([\w-]+)", sheets))) == []


def test_colours_are_found():
    found = COLOUR.findall('fill="#fff" stroke: #0072B2; rgba(0, 0, 0, 0.5) href="#tab" #1')
    assert found == ["#fff", "#0072B2", "rgba(0"]
