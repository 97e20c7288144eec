"""How details were fixed, in files: by ADetailer's names, and read back."""

from __future__ import annotations

import pytest

from pipelines.diffusion.details.requests import DetailFix
from pipelines.diffusion.requests import TextToImageRequest
from studio.core.gallery.infotext_details import unread_details
from studio.core.gallery.metadata import format_parameters, parameters_of, parse_parameters
from studio.core.gallery.reuse import fields_of


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"prompt": "[PROMPT], sharp [SEP] a: [PART]", "negative_prompt": "grey", "most": 3},
        {"order": "left", "grow": -5, "confidence": 0.55, "strength": 0.7, "padding": 0},
    ],
)
def test_what_is_written_into_a_file_is_read_back(asked):
    fix = DetailFix(**asked)
    request = TextToImageRequest(prompt="a mug", steps=4, seed=1, detail_fix=fix)
    text = format_parameters(parameters_of(request.model_dump(), (64, 64)))
    assert DetailFix(**fields_of(parse_parameters(text))["detail_fix"]) == fix


def test_files_of_the_extension_are_read_and_others_speak_of_no_details():
    text = (
        "a girl\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768, ADetailer "
        'model: face_yolov8n.pt, ADetailer prompt: "[PROMPT], smile", ADetailer confidence: 0.45, '
        "ADetailer dilate erode: 4, ADetailer mask blur: 400, ADetailer denoising strength: 0.35, "
        "ADetailer inpaint only masked: True, ADetailer inpaint padding: 48, "
        "ADetailer version: 24.5.1, Version: v1.9.4"
    )
    assert fields_of(parse_parameters(text))["detail_fix"] == {
        "prompt": "[PROMPT], smile", "confidence": 0.45, "grow": 4, "strength": 0.35,
        "padding": 48,
    }  # fmt: skip
    assert "detail_fix" not in fields_of(parse_parameters("a girl\nSteps: 20, Seed: 1, Size: 8x8"))


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({"ADetailer model": "toys", "ADetailer confidence": "0.4"}, set()),
        ({"ADetailer model": "face_yolov8n.pt"}, {"ADetailer model"}),
        (
            {"ADetailer model": "toys", "ADetailer mask only top k": "50", "ADetailer order": "up"},
            {"ADetailer mask only top k", "ADetailer order"},
        ),
        (
            {"ADetailer model": "toys", "ADetailer inpaint only masked": "False"},
            {"ADetailer inpaint only masked"},
        ),
        ({"ADetailer confidence": "9"}, set()),  # nothing is fixed, which is said elsewhere
    ],
)
def test_what_is_not_followed_is_told(said, left):
    assert unread_details(said) == left
