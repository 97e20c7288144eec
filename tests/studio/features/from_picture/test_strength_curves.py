"""The curves behind the strength's slider."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from pipelines.diffusion.from_picture.strengths import curves_of
from pipelines.models.catalog import Catalog
from studio.features.from_picture.strength_curves import strength_curves

VISITOR = SimpleNamespace(say=str)


def test_the_starters_strengths_have_been_measured(tmp_path):
    curves = curves_of(Catalog(tmp_path).get("starter"))
    assert curves.strengths == pytest.approx([tenths / 10 for tenths in range(11)])
    assert curves.new[0] < 0.1
    assert curves.old[0] == 1, "strength 0 is the picture"
    assert curves.new[-1] > 0.9
    # What was asked of image-to-image: one strength at least does both.
    start, end = curves.both
    assert 0.3 < start <= end <= 1


def test_they_are_drawn_where_the_entry_names_what_was_measured(tmp_path):
    catalog = Catalog(tmp_path)
    measured, other = catalog.get("starter"), catalog.get("sd15")
    assert strength_curves(other, VISITOR) == ""
    assert strength_curves(measured.model_copy(update={"strengths": None}), VISITOR) == ""
    assert strength_curves(measured.model_copy(update={"strengths": "none.json"}), VISITOR) == ""
    drawn = strength_curves(other.model_copy(update={"strengths": measured.strengths}), VISITOR)
    new, old = re.findall(r'points="([^"]+)"', drawn)
    assert new.split()[0] == f"0,{40 * (1 - curves_of(measured).new[0]):g}"
    assert old.split()[0] == "0,0"
    assert len(new.split()) == len(old.split()) == 11
