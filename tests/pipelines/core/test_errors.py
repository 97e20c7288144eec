"""Requests that an earlier version has stored: read as far as they are still understood."""

from __future__ import annotations

import pytest

from pipelines.chat.requests import CompletionRequest, Generation
from pipelines.core import errors
from pipelines.core.errors import BadRequest, validate, validate_stored
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.grids.requests import CompareSamplersRequest


def test_settings_that_there_no_longer_are_are_left_out():
    data = {"prompt": "a mug", "steps": 7, "brush": "soft"}
    with pytest.raises(BadRequest, match="There is no setting called brush"):
        validate(TextToImageRequest, data)
    assert validate_stored(TextToImageRequest, data) == TextToImageRequest(prompt="a mug", steps=7)
    assert data["brush"] == "soft"


def test_a_whole_number_may_have_a_point():
    """``2.0`` is one, as JavaScript and YAML of other tools write it; ``2.5`` is none."""
    asked = {"prompt": "a mug", "steps": 2.0, "seed": "7.0", "width": 64.0}
    request = validate(TextToImageRequest, asked)
    assert (request.steps, request.seed, request.width) == (2, 7, 64)
    assert all(isinstance(each, int) for each in (request.steps, request.seed, request.width))
    for value in (2.5, "2.5", "2,0", "two"):
        with pytest.raises(BadRequest, match=f"Steps cannot be .?{value}.?: it must be a whole"):
            validate(TextToImageRequest, {"prompt": "a mug", "steps": value})


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (Generation, {"stop": [1] * 100_000}, "Stop strings has 100000 entries; at most 16"),
        (
            CompletionRequest,
            {"prompt_tokens": [1.5] * 100_000},
            "cannot be 1.5: it must be a whole number",
        ),
    ],
)
def test_of_a_long_list_one_entry_is_told_of(model, data, words, monkeypatch):
    """pydantic makes an error of each entry, which takes seconds; nobody reads more than one."""
    counts = []
    sentence = errors._sentence
    monkeypatch.setattr(
        errors, "_sentence", lambda *of: counts.append(of[2].error_count()) or sentence(*of)
    )
    with pytest.raises(BadRequest, match=words):
        validate(model, {"model": "x", **data})
    assert sum(counts) <= 3


class File:
    """As an upload's: none of its names is for people."""

    filename = "a.png"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        ({"a": [None, "ü"]}, '{"a": [null, "ü"]}'),
        (File(), "a file"),
        (["x" * 100], '["' + "x" * 57 + "…"),
    ],
)
def test_a_value_is_shown_as_its_sender_writes_it(value, shown):
    with pytest.raises(BadRequest) as caught:
        validate(TextToImageRequest, {"prompt": value})
    assert str(caught.value) == f"Prompt cannot be {shown}: it must be text."


def test_those_within_others_too():
    base = {"prompt": "a mug", "brush": 1, "loras": [{"name": "x"}, {"name": "y", "z": {}, "w": 1}]}
    data = {"base": base, "samplers": ["Euler"], "steps": [2], "old": 1}
    read = validate_stored(CompareSamplersRequest, data)
    assert [use.name for use in read.base.loras] == ["x", "y"]
    assert read.samplers == ("Euler",)


def test_what_is_there_is_held_to_its_bounds():
    with pytest.raises(BadRequest, match="Steps is 0; it must be at least 1"):
        validate_stored(TextToImageRequest, {"prompt": "a mug", "steps": 0, "brush": "soft"})
    with pytest.raises(BadRequest, match="Prompt is missing"):
        validate_stored(TextToImageRequest, {"brush": "soft"})
    with pytest.raises(BadRequest):
        validate_stored(TextToImageRequest, ["brush"])


def test_the_one_class_prompt_of_earlier_trainings_is_kept():
    data = {"subject": "0" * 32, "training": "1" * 32, "name": "cat"}
    assert validate_stored(TrainingRequest, data | {"class_prompt": "a cat"}).class_prompts == (
        "a cat",
    )
    assert validate_stored(TrainingRequest, data | {"class_prompt": None}).class_prompts == ()
