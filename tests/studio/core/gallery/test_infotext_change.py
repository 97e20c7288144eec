"""How a picture was changed, in files: written as A1111 does, and read back."""

from __future__ import annotations

import pytest

from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Samplers
from studio.core.gallery.infotext_change import change_lines, change_of, unread_changes
from studio.core.gallery.metadata import format_parameters, parameters_of, parse_parameters
from studio.core.gallery.reuse import fields_of, unused_settings

PICTURE, MASK = "a" * 32, "b" * 32

ASKED = [
    {},
    {"strength": 0.4, "all_steps": True, "fit": "pad"},
    {"strength": 1.0, "mask": MASK, "mask_blur": 0, "gradual": True},
    {"mask": MASK, "invert_mask": True, "area": "masked", "padding": 7, "masked_content": "noise"},
    {"mask": MASK, "masked_content": "fill", "all_steps": False, "mask_weight": 0.5},
    {"outpaint": {"left": 64, "right": 64}, "strength": 0.9, "mask_blur": 12},
    {"edit": True},
    {"noise_multiplier": 0.95, "extra_noise": 0.1, "colour_correction": True},
    {"noise_multiplier": 0.0, "background": "#12ab00"},
    {"mask": MASK, "mask_weight": 0.25},
    {"outpaint": {"top": 25, "bottom": 30, "unit": "percent"}, "masked_content": "nothing"},
]


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_written_into_a_file_is_read_back(asked):
    change = FromPicture(picture=PICTURE, **asked)
    request = TextToImageRequest(prompt="a mug", steps=4, seed=1, from_picture=change)
    text = format_parameters(parameters_of(request.model_dump(), (64, 64)))
    found = change_of(parse_parameters(text))
    again = FromPicture(picture=PICTURE, mask=change.mask, **found)
    assert again == change
    assert PICTURE not in text, "an id says who has the picture"


def test_lines_are_those_of_a1111():
    change = FromPicture(picture=PICTURE, mask=MASK, invert_mask=True, area="masked",
                         masked_content="nothing", strength=0.6)  # fmt: skip
    assert change_lines(change.model_dump()) == {
        "Denoising strength": 0.6,
        "Mask blur": 4,
        "Mask mode": "Inpaint not masked",
        "Inpaint area": "Only masked",
        "Masked area padding": 32,
        "Masked content": "latent nothing",
    }
    grown = FromPicture(picture=PICTURE, outpaint={"left": 64, "right": 64})
    assert change_lines(grown.model_dump())["Outpaint"] == "left 64, right 64"


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({}, "600x400"),
        ({"mask": MASK}, "600x400"),
        ({"mask": MASK, "area": "masked"}, "128x64"),
        ({"area": "masked"}, "600x400"),
        ({"outpaint": {"left": 8}}, "128x64"),
    ],
)
def test_the_size_is_the_one_that_was_painted_at(change, size):
    change = FromPicture(picture=PICTURE, **change)
    request = TextToImageRequest(prompt="a mug", width=128, height=64, from_picture=change)
    assert parameters_of(request.model_dump(), (600, 400))["Size"] == size


@pytest.mark.parametrize(
    ("parameters", "found", "left"),
    [
        ({"Mask blur x": "8", "Mask blur y": "8"}, {"mask_blur": 8}, set()),
        ({"Mask blur": "900"}, {"mask_blur": 4}, {"Mask blur"}),
        (
            {"Denoising strength": "7", "Masked content": "patchmatch"},
            {"strength": 0.75},
            {"Denoising strength", "Masked content"},
        ),
        ({"Outpaint": "left 9999, up 3"}, {"outpaint": None}, {"Outpaint"}),
        ({"Resize mode": "Just resize"}, {"fit": "crop"}, {"Resize mode"}),
        (
            {"Noise multiplier": "1.6", "Extra noise": "0.25", "Color correction": "True"},
            {"noise_multiplier": 1.0, "extra_noise": 0.25, "colour_correction": True},
            {"Noise multiplier"},
        ),
        ({"Background color": "white"}, {"background": "#ffffff"}, {"Background color"}),
        ({"Mask mode": "Inpaint masked", "Inpaint area": "Whole picture"}, {}, set()),
    ],
)
def test_others_are_read_as_far_as_they_go_and_the_rest_is_told(parameters, found, left):
    parameters = {"Denoising strength": "0.5", **parameters}
    change = FromPicture(picture=PICTURE, **change_of(parameters))
    assert {name: getattr(change, name) for name in found} == found
    assert unread_changes(parameters) == left


@pytest.mark.parametrize(
    "parameters", [{"Steps": "20"}, {"Denoising strength": "0.5", "Hires upscale": "2"}]
)
def test_the_strength_of_a_hires_pass_is_no_change(parameters):
    assert change_of(parameters) is None


GROWN = {"strength": 0.9, "outpaint": {"left": 64}, "mask": MASK, "mask_blur": 9}
UNIT = {"picture": PICTURE, "preprocessor": "canny", "model": "net-a"}


def test_a_change_before_a_hires_pass_is_read_back():
    change = FromPicture(picture=PICTURE, **GROWN)
    request = TextToImageRequest(prompt="a mug", from_picture=change, hires={"strength": 0.3})
    parameters = parse_parameters(format_parameters(parameters_of(request.model_dump(), (64, 64))))
    assert FromPicture(picture=PICTURE, mask=MASK, **change_of(parameters)) == change
    assert unread_changes(parameters) == set()
    assert fields_of(parameters)["hires"]["strength"] == 0.3


def test_a_change_beside_units_is_taken_over_as_one_without(tmp_path):
    """From a picture takes both; the file is one of ours, whose other facts are known."""
    change = FromPicture(picture=PICTURE, **GROWN)
    request = ControlRequest(prompt="a mug", from_picture=change, units=[UNIT])
    parameters = parse_parameters(format_parameters(parameters_of(request.model_dump(), (64, 64))))
    left = unused_settings(parameters, set(), Samplers(), ControlCatalog(tmp_path))
    assert not {"Denoising strength", "Mask blur", "Outpaint"} & left
    parameters = {name: value for name, value in parameters.items() if "ControlNet" not in name}
    left = unused_settings(parameters, set(), Samplers(), ControlCatalog(tmp_path))
    assert not {"Denoising strength", "Mask blur", "Outpaint"} & left
