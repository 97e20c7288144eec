"""Which of a picture's uses the page asks for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.models.catalog import Catalog
from studio.features.from_picture.editing import EditingForm

IDS = ["1" * 32, "2" * 32]


@pytest.mark.parametrize(
    ("model", "how", "asked"),
    [
        ("starter", "words", {}),  # chosen for another model before
        ("flux2-klein", "begin", {"edit": False, "references": []}),
        ("flux2-klein", "words", {"edit": True, "references": IDS}),
        ("qwen-image-edit", "begin", {"edit": True, "references": IDS}),
    ],
)
def test_only_models_that_edit_are_told_to(tmp_path, model, how, asked):
    form = EditingForm(SimpleNamespace(catalog=Catalog(tmp_path)), form=None)
    assert form.data((how, IDS), model) == asked
