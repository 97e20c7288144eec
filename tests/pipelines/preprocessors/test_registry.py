from __future__ import annotations

import re
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from pipelines.core.errors import BadRequest, NotFound, Stopped, Unavailable
from pipelines.preprocessors import registry
from pipelines.preprocessors.registry import PREPROCESSORS, get
from pipelines.preprocessors.weights import WEIGHTS, expected_bytes, is_here
from tests.pipelines.preprocessors.conftest import cache_in

ROOT = Path(__file__).parents[3]
NAMES = [
    "none", "canny", "scribble", "lineart", "softedge_hed", "softedge_pidinet", "scribble_hed",
    "sketch_pidinet", "lineart_hub", "lineart_anime", "depth", "depth_anything", "depth_midas",
    "depth_zoe", "depth_leres", "normal_bae", "openpose", "dwpose", "seg_upernet", "seg_sam",
    "shuffle", "grid_grey", "grid_colour",
]  # fmt: skip
MADE = {
    "any", "canny", "softedge", "lineart", "scribble", "sketch", "depth", "seg", "normal", "pose",
    "shuffle", "grid",
}  # fmt: skip


def test_these_preprocessors_are_offered_in_this_order():
    assert list(PREPROCESSORS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preprocessor_is_described_and_its_parameters_have_bounds(name):
    preprocessor = get(name)
    assert preprocessor.name == name
    assert preprocessor.title
    assert preprocessor.description.endswith(".")
    assert preprocessor.makes in MADE
    assert preprocessor.weights is None or preprocessor.weights in WEIGHTS
    assert len(preprocessor.neutral) == 3
    assert preprocessor.parameters.model_config["extra"] == "forbid"
    assert preprocessor.parameters.model_config["frozen"]
    for field in preprocessor.parameters.model_fields.values():
        assert field.title
        assert field.description
        limits = {type(limit).__name__ for limit in field.metadata}
        assert field.annotation is bool or {"Ge", "Le"} <= limits
        assert not field.is_required()
    assert callable(import_module(preprocessor.module).annotate)


def test_an_unknown_name_offers_the_closest():
    with pytest.raises(NotFound, match=r"no preprocessor called cany\..*canny"):
        get("cany")


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("canny", {"low": 256}, "Low threshold is 256; it must be at most 255."),
        ("scribble", {"thickness": 0}, "Line thickness is 0; it must be at least 1."),
        ("shuffle", {"seed": -1}, "Seed is -1; it must be at least 0."),
        ("grid_grey", {"cells": 129}, "Cells is 129; it must be at most 128."),
        ("depth_midas", {"resolution": 4096}, "Resolution is 4096; it must be at most 2048."),
        ("lineart", {"width": float("nan")}, "Line width is nan"),
        ("none", {"low": 1}, "There is no setting called low."),
        ("openpose", {"hands": "perhaps"}, "Hands cannot be perhaps"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused_before_anything_is_loaded(
    annotate, photo, name, parameters, sentence
):
    with pytest.raises(BadRequest, match=re.escape(sentence)):
        annotate(name, photo, **parameters)


def test_stopping_before_the_map_is_made(photo, tmp_path):
    stop = threading.Event()
    stop.set()
    for name in ("canny", "depth_midas"):
        with pytest.raises(Stopped):
            list(registry.annotate(name, photo, {}, cache_in(tmp_path), stop))


@pytest.mark.parametrize("name", [name for name in NAMES if PREPROCESSORS[name].weights])
def test_without_its_weights_a_preprocessor_says_what_to_do(
    annotate, photo, name, monkeypatch, tmp_path
):
    monkeypatch.setattr("pipelines.preprocessors.weights.ASSETS", tmp_path)
    weights = PREPROCESSORS[name].weights
    title = re.escape(WEIGHTS[weights].title)
    assert not is_here(weights, tmp_path)
    assert expected_bytes(weights) > 10**6
    with pytest.raises(Unavailable) as caught:
        annotate(name, photo)
    expected = rf"{title} is not on this machine.*offline.*[KMG]B\)"
    if weights == "toybox_depth":
        expected = rf"The files of {title} are not in assets/starter/depth"
    assert re.search(expected, str(caught.value))
    assert str(caught.value).count(".") < 5


def test_a_missing_package_is_named_and_the_others_work(annotate, photo, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("pipelines.preprocessors.cl")]:
        monkeypatch.delitem(sys.modules, module)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cv2", None)
        with pytest.raises(Unavailable, match=r"Canny edges cannot run here \(.*cv2.*pip install"):
            annotate("canny", photo)
    assert annotate("canny", photo).size == photo.size
