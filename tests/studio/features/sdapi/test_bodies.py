"""What bodies of A1111's clients mean, worked out by hand from its documentation."""

from __future__ import annotations

import pytest

from pipelines.core.errors import BadRequest
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.requests import TextToImageRequest
from studio.features.sdapi.bodies import (
    ChangeBody,
    TextBody,
    change_fields,
    paint_fields,
    read,
)
from studio.features.sdapi.errors import UnknownSampler


def fields_of(tmp_path, **body) -> dict:
    return paint_fields(read(TextBody, {"prompt": "a mug", **body}), None, tmp_path).fields


def notes_of(tmp_path, **body) -> list[str]:
    wanted = paint_fields(read(TextBody, {"prompt": "a mug", **body}), None, tmp_path)
    return [str(each) for each in wanted.notes]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"seed": "12", "steps": 20.0, "cfg_scale": "7.5"},
         {"seed": 12, "steps": 20, "guidance": 7.5}),
        ({"seed": -5}, {"seed": -1}),
        ({"n_iter": 2, "batch_size": 3}, {"batch_count": 2, "batch_size": 3}),
        ({"sampler_index": "DPM++ 2M Karras"}, {"sampler": "DPM++ 2M", "schedule": "Karras"}),
        ({"sampler_name": "k_euler_a"}, {"sampler": "Euler a"}),
        ({"sampler_name": "Euler", "sampler_index": "Heun"}, {"sampler": "Euler"}),
        ({"sampler_name": "euler", "scheduler": "sgm_uniform"},
         {"sampler": "Euler", "schedule": "SGM Uniform"}),
        ({"width": 515, "height": "517"}, {"width": 512, "height": 512}),
        ({"clip_skip": 2}, {"clip_skip": 2}),
        ({"override_settings": {"CLIP_stop_at_last_layers": 40}}, {"clip_skip": 12}),
        ({"override_settings": {"sd_model_checkpoint": "m"}}, {"model": "m"}),
        ({"subseed": 9, "subseed_strength": 0.25},
         {"variation": {"seed": 9, "strength": 0.25}}),
        ({"seed_resize_from_w": 64, "seed_resize_from_h": 72},
         {"variation": {"seed": -1, "strength": 0, "width": 64, "height": 72}}),
    ],
)  # fmt: skip
def test_fields_mean_what_they_mean_there(tmp_path, body, expected):
    found = fields_of(tmp_path, **body)
    assert {name: found.get(name) for name in expected} == expected
    TextToImageRequest(**found)


def test_what_is_null_or_automatic_or_unknown_is_left_to_the_model(tmp_path):
    body = {
        "steps": None,
        "sampler_name": None,
        "scheduler": "Automatic",
        "denoising_strength": None,
        "url": "http://127.0.0.1:7860",
        "auth": "me:secret",
        "do_not_save_grid": True,
    }
    assert fields_of(tmp_path, **body) == fields_of(tmp_path)
    assert notes_of(tmp_path, **body) == []


def test_a_hires_pass_is_what_it_is_there(tmp_path):
    hires = fields_of(
        tmp_path,
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler="Latent (nearest-exact)",
        hr_second_pass_steps=0.0,
        denoising_strength=0.55,
        hr_sampler_name="Use same sampler",
        hr_prompt="finer",
    )["hires"]
    assert Hires(**hires) == Hires(
        scale=1.5, upscaler="Latent (nearest-exact)", strength=0.55, prompt="finer"
    )
    sized = fields_of(tmp_path, enable_hr=True, hr_resize_x=1000, hr_resize_y=0)["hires"]
    assert (sized["width"], "height" in sized, "scale" in sized) == (1000, False, False)
    assert sized["upscaler"] == "Latent"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"cfg_scale": 40}, "cfg_scale was lowered to 30"),
        ({"scheduler": "polyexponential"}, "no schedule called polyexponential"),
        ({"restore_faces": True}, "restore_faces has no effect"),
        ({"hr_upscaler": "Latent"}, "enable_hr is not set"),
        ({"styles": ["Nobody's"]}, "styles were left out: Nobody's"),
    ],
)
def test_what_has_no_effect_is_said(tmp_path, body, words):
    (note,) = notes_of(tmp_path, **body)
    assert words in note


def test_a_sampler_that_is_not_here_is_refused(tmp_path):
    with pytest.raises(UnknownSampler, match="Restart"):
        fields_of(tmp_path, sampler_name="Restart")


def test_a_script_that_is_not_here_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="X/Y/Z plot"):
        fields_of(tmp_path, script_name="X/Y/Z plot")


def test_a_mask_has_the_defaults_of_the_protocol():
    wanted = change_fields(read(ChangeBody, {}), "p", "m")
    assert wanted.fields == {
        "picture": "p",
        "fit": "stretch",
        "strength": 0.75,
        "mask": "m",
        "invert_mask": False,
        "mask_blur": 4,
        "masked_content": "fill",
        "area": "masked",
        "padding": 0,
    }
    body = {
        "inpaint_full_res": 0,
        "inpainting_fill": 2,
        "inpainting_mask_invert": 1,
        "mask_blur": 0,
        "resize_mode": 2,
        "denoising_strength": 0,
        "initial_noise_multiplier": 0.9,
    }
    fields = change_fields(read(ChangeBody, body), "p", "m").fields
    assert (
        fields
        | {
            "fit": "pad",
            "strength": 0.0,
            "invert_mask": True,
            "mask_blur": 0,
            "masked_content": "noise",
            "area": "whole",
            "noise_multiplier": 0.9,
        }
        == fields
    )
    with pytest.raises(BadRequest, match="inpainting_fill is 7"):
        change_fields(read(ChangeBody, {"inpainting_fill": 7}), "p", "m")
