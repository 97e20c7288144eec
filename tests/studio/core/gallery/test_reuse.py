"""From the words inside a picture back to the fields of a request."""

from __future__ import annotations

import pytest

from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import ControlRequest, ControlUnit
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Samplers
from studio.core.gallery import reuse
from studio.core.gallery.metadata import format_parameters, parameters_of, parse_parameters
from studio.core.gallery.reuse import fields_of


def test_what_a_request_wrote_comes_back_as_its_fields():
    fields = {
        "prompt": "a mug, on: wood",
        "negative_prompt": "fog",
        "model": "starter",
        "sampler": "DDIM",
        "schedule": "Uniform",
        "steps": 12,
        "guidance": 6.5,
        "guidance_rescale": 0.3,
        "clip_skip": 2,
        "eta": 0.4,
        "width": 128,
        "height": 64,
        "seed": 99,
    }
    request = TextToImageRequest(**fields).model_dump()
    text = format_parameters(parameters_of(request, (128, 64)))
    assert fields_of(parse_parameters(text)) == fields


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("DPM++ 2M Karras", {"sampler": "DPM++ 2M", "schedule": "Karras"}),
        ("Euler a", {"sampler": "Euler a"}),
        ("DPM++ 3M SDE Exponential", {"sampler": "DPM++ 3M SDE", "schedule": "Exponential"}),
        ("Euler SGM Uniform", {"sampler": "Euler", "schedule": "SGM Uniform"}),
    ],
)
def test_older_names_of_samplers_hold_the_schedule(sampler, expected):
    assert fields_of({"Sampler": sampler}) == expected


def test_a_schedule_of_its_own_is_not_taken_from_the_samplers_name():
    fields = fields_of({"Sampler": "DPM++ 2M", "Schedule type": "Automatic"})
    assert fields == {"sampler": "DPM++ 2M"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"Steps": "9999"},
        {"Steps": "many"},
        {"CFG scale": "nan"},
        {"Seed": "-5"},
        {"Size": "7x7"},
        {"Size": "wide"},
        {"prompt": "x" * 10_001},
    ],
)
def test_what_no_request_takes_is_left_out(parameters):
    assert fields_of(parameters) == {}


def test_whole_numbers_are_read_as_some_tools_write_them():
    written = {"Steps": "20.0", "Seed": "7.0", "Clip skip": "2.0", "Variation seed": "3.0",
               "Variation seed strength": "0.5", "Hires upscale": "2", "Hires steps": "5.0",
               "Denoising strength": "1"}  # fmt: skip
    found = fields_of(written)
    assert (found["steps"], found["seed"], found["clip_skip"]) == (20, 7, 2)
    assert (found["variation"]["seed"], found["hires"]["steps"]) == (3, 5)
    assert fields_of({"Steps": "20.5", "Seed": "7,0"}) == {}


def test_what_was_never_written_is_not_made_up():
    assert fields_of({}) == {}


@pytest.fixture
def find_unused(tmp_path):
    """``find_unused(parameters, models, samplers)`` in a studio with the shipped control models."""

    def names(parameters, models, samplers):
        return reuse.unused_settings(parameters, models, samplers, ControlCatalog(tmp_path))

    return names


def test_what_cannot_be_taken_over_is_named(find_unused):
    text = (
        "a mug\nSteps: 9999, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x512, "
        "Model hash: 6ce0161689, Model: v1-5-pruned, VAE: vae-ft-mse, Denoising strength: 0.7, "
        "Hires upscale: 2, Style: Noir 9, "
        'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b]", '
        'ControlNet 1: "Module: canny, Model: x [0123abcd]", '
        'ControlNet 2: "Module: mlsd, Model: control_v11p_sd15_canny [d14c016b]", '
        'ControlNet 3: "Module: canny, Model: control_v11p_sd15_canny", Version: v1.10.1'
    )
    here = Samplers()
    expected = {"Steps", "Model", "VAE", "Style"}
    expected |= {f"ControlNet {number}" for number in (1, 2, 3)}  # model, module, one too many
    assert find_unused(parse_parameters(text), {"starter"}, here) == expected
    expected.discard("Model")
    assert find_unused(parse_parameters(text), {"v1-5-pruned"}, here) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"Sampler": "Restart", "Schedule type": "Automatic"}, {"Sampler"}),
        ({"Sampler": "Euler", "Schedule type": "Align Your Steps"}, {"Schedule type"}),
        ({"Size": "7x7"}, {"Size"}),
        ({}, set()),
    ],
)
def test_samplers_schedules_and_sizes_that_are_not_here_are_named(
    parameters, expected, find_unused
):
    assert find_unused(parameters, {"starter"}, Samplers()) == expected


def test_everything_that_atelier_writes_it_can_take_over(find_unused):
    unit = ControlUnit(picture="0" * 32, preprocessor="depth", model="starter-controlnet-depth")
    request = ControlRequest(prompt="a mug", model="starter", sampler="DDIM", eta=0.5, steps=9,
                             units=[unit])  # fmt: skip
    extra = {"Model hash": "0123456789", "RNG": "CPU", "torch": "2.0"}
    text = format_parameters(parameters_of(request.model_dump(mode="json"), (128, 128), extra))
    assert find_unused(parse_parameters(text), {"starter"}, Samplers()) == set()


def test_a_variation_is_written_with_a1111s_keys_and_read_back():
    variation = {"seed": 5, "strength": 0.25, "width": 512, "height": 640}
    request = TextToImageRequest(prompt="a mug", seed=1, variation=variation).model_dump()
    text = format_parameters(parameters_of(request, (128, 128)))
    assert "Variation seed: 5, Variation seed strength: 0.25, Seed resize from: 512x640" in text
    assert fields_of(parse_parameters(text))["variation"] == variation
    half = fields_of({"Variation seed": "5", "Variation strength": "0.5"})  # SD.Next's name
    assert half == {"variation": {"seed": 5, "strength": 0.5}}


def test_a_variation_that_no_request_takes_is_left_out_and_said_to_be(find_unused):
    wild = {"Variation seed": "5", "Variation seed strength": "7"}
    assert fields_of(wild) == {}
    assert find_unused(wild, {}, Samplers()) == set(wild)


def test_a_hires_pass_is_written_with_a1111s_keys_and_read_back():
    hires = {"scale": 1.5, "upscaler": "Latent", "steps": 12, "strength": 0.6, "sampler": "Heun",
             "schedule": "Karras", "guidance": 5.0, "prompt": "a mug, sharp",
             "negative_prompt": "fog"}  # fmt: skip
    request = TextToImageRequest(prompt="a mug", width=128, height=64, hires=hires).model_dump()
    text = format_parameters(parameters_of(request, (192, 96)))
    assert "Size: 128x64" in text, "that of the first pass"
    assert (
        "Denoising strength: 0.6, Hires upscale: 1.5, Hires upscaler: Latent, Hires steps: 12, "
        "Hires sampler: Heun, Hires schedule type: Karras, Hires CFG Scale: 5, "
        'Hires prompt: "a mug, sharp", Hires negative prompt: fog'
    ) in text
    assert fields_of(parse_parameters(text))["hires"] == hires
    sized = TextToImageRequest(prompt="a mug", hires={"height": 96}).model_dump()
    facts = parameters_of(sized, (96, 96))
    assert facts["Hires resize"] == "0x96"
    read = fields_of(parse_parameters(format_parameters(facts)))["hires"]
    assert read == {"width": None, "height": 96, "strength": 0.7, "upscaler": "Lanczos"}


def test_a_second_pass_s_extra_noise_is_a1111s_unless_the_first_has_its_own():
    hires = {"scale": 2, "extra_noise": 0.2}
    request = TextToImageRequest(prompt="", hires=hires)
    facts = parameters_of(request.model_dump(), (128, 128))
    assert facts["Extra noise"] == 0.2
    assert fields_of(parse_parameters(format_parameters(facts)))["hires"]["extra_noise"] == 0.2
    begun = {"picture": "0" * 32, "extra_noise": 0.1}
    changed = TextToImageRequest(prompt="", hires=hires, from_picture=begun)
    facts = parameters_of(changed.model_dump(), (8, 8))
    assert (facts["Extra noise"], facts["Hires extra noise"]) == (0.1, 0.2)
    assert fields_of(parse_parameters(format_parameters(facts)))["hires"]["extra_noise"] == 0.2


def test_of_a_changed_picture_both_strengths_are_written():
    begun = {"picture": "0" * 32, "strength": 0}
    request = TextToImageRequest(prompt="", from_picture=begun, hires={"strength": 0.3})
    facts = parameters_of(request.model_dump(), (128, 128))
    assert (facts["Denoising strength"], facts["Hires strength"]) == (0, 0.3)
    assert fields_of(parse_parameters(format_parameters(facts)))["hires"]["strength"] == 0.3


def test_a_second_pass_s_model_is_written_as_a_checkpoint_and_read_without_its_hash(
    find_unused,
):
    hires = {"scale": 2, "model": "starter"}
    request = TextToImageRequest(prompt="a mug", model="starter", hires=hires)
    facts = parameters_of(request.model_dump(), (8, 8))
    assert facts["Hires checkpoint"] == "starter"
    text = format_parameters(facts | {"Hires checkpoint": "starter [0123456789]"})
    assert fields_of(parse_parameters(text))["hires"]["model"] == "starter"
    assert find_unused(parse_parameters(text), {"starter"}, Samplers()) == set()
    left = find_unused(parse_parameters(text), {"sd15"}, Samplers())
    assert left == {"Hires checkpoint", "Model"}
    same = parse_parameters(text.replace("starter [0123456789]", "Use same checkpoint"))
    assert "model" not in fields_of(same)["hires"]


def test_an_upscaler_that_is_not_here_is_named(find_unused):
    text = ("a mug\nSteps: 20, Sampler: Euler, Seed: 1, Denoising strength: 0.4, Hires upscale: 2, "
            "Hires steps: 0, Hires upscaler: R-ESRGAN 4x+, Version: v1.10.1")  # fmt: skip
    facts = parse_parameters(text)
    assert fields_of(facts)["hires"] == {
        "scale": 2, "strength": 0.4, "upscaler": "R-ESRGAN 4x+",
    }  # fmt: skip
    assert find_unused(facts, {}, Samplers()) == {"Hires upscaler"}


def test_a_second_pass_s_words_come_back_as_they_were_typed_from_ones_own_files_alone():
    text = (
        "a mug\nSteps: 20, Sampler: Euler, Seed: 1, Denoising strength: 0.4, Hires upscale: 2, "
        "Hires upscaler: None, Hires prompt: a red mug, "
        "Hires Template: a {red|blue} mug, Version: Atelier 0.1.0"
    )
    assert fields_of(parse_parameters(text))["hires"]["prompt"] == "a {red|blue} mug"
    other = text.replace("Atelier 0.1.0", "v1.10.1")
    assert fields_of(parse_parameters(other))["hires"]["prompt"] == "a red mug"


def test_what_the_file_says_of_its_making_is_not_told_to_be_left_out(find_unused):
    text = (
        "a mug\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64, Denoising strength: 0.4, "
        "Init image size: 120x60, Init image hash: 0123, Postprocess upscale by: 4, "
        "Postprocess upscaler: R-ESRGAN 4x+, Postprocess upscaler 2: None, Version: v1.10.1"
    )
    assert find_unused(parse_parameters(text), {}, Samplers()) == set()
