"""What the house has once is not made by hand beside it."""

from __future__ import annotations

import re

import pytest

from tests.structure.sources import ROOT, tracked_files

UNIT_BY_HAND = re.compile(r"\}\s?[kMGT]i?B\b")  # as "{limit} MB" or f"{count // 10**6} MB"


@pytest.mark.parametrize("text", ["at most {limit} MB", 'f"{size / 1e9:.1f} GB"', "`${n}kB`"])
def test_units_written_by_hand_are_seen(text):
    assert UNIT_BY_HAND.search(text)


def test_bytes_are_written_by_the_one_formatter():
    """:func:`pipelines.core.sizes.format_bytes`; sentences hold its words, units and all."""
    folders = ("app.py", "assets/", "pipelines/", "studio/")
    files = [
        file
        for file in tracked_files()
        if file.startswith(folders)
        and file.endswith((".py", ".js", ".yaml"))
        and file != "studio/i18n/zh_former.yaml"
    ]
    found = [
        f"{file}:{number}"
        for file in files
        for number, line in enumerate((ROOT / file).read_text("utf-8").splitlines(), start=1)
        if UNIT_BY_HAND.search(line)
    ]
    assert found == []
