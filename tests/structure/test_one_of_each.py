"""What the house has once is not made by hand beside it."""

from __future__ import annotations

import math
import re

import pytest
from pydantic import ValidationError

from pipelines.core.engine import StrictModel
from tests.structure.sources import ROOT, python_files, source_of, tracked_files

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


def test_models_that_are_strict_say_so_by_their_base():
    """:class:`pipelines.core.engine.StrictModel`, which refuses NaN and infinities too."""
    by_hand = re.compile(r"ConfigDict\(extra=\"forbid\", frozen=True\)|allow_inf_nan=False")
    apart = {"pipelines/core/engine.py"}
    # Dataclasses and dictionaries, which have no base of ours.
    apart |= {"pipelines/clustering/wire.py", "studio/features/chat/files/reading.py"}
    found = [
        file
        for file in python_files("pipelines", "studio")
        if file not in apart and by_hand.search(source_of(file))
    ]
    assert found == []


@pytest.mark.parametrize(
    "given", [{"share": math.nan}, {"share": math.inf}, {"pairs": ((0, -math.inf),)}, {"other": 1}]
)
def test_a_strict_model_takes_nothing_unknown_and_nothing_infinite(given):
    class Blend(StrictModel):
        share: float = 0.5
        pairs: tuple[tuple[float, float], ...] = ()

    with pytest.raises(ValidationError):
        Blend(**given)
    with pytest.raises(ValidationError):
        Blend().share = 1.0
