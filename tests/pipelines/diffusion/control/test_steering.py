"""Steered pictures against diffusers' own pipelines, and what must change nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    MultiAdapter,
    MultiControlNetModel,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    T2IAdapter,
)
from PIL import Image

from pipelines.core.errors import BadRequest, NotFound, Stopped, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.pictures.fitting import fit
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control import paint
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.control.steering import Steering
from pipelines.diffusion.samplers import make_scheduler, samplers_in
from tests.pipelines.diffusion.control.conftest import (
    BASE,
    LARGE_BASE,
    SECOND_BASE,
    adapter,
    scribble,
)

STEPS, GUIDANCE, SEED = 5, 4.0, 7


def request_of(units: list[dict], **settings) -> ControlRequest:
    fields = {
        "prompt": "a red mug",
        "model": BASE,
        "sampler": "DDIM",
        "schedule": "Uniform",
        "steps": STEPS,
        "guidance": GUIDANCE,
        "seed": SEED,
        "units": units,
    }
    return validate(ControlRequest, fields | settings)


@pytest.fixture
def run_request(control_cache, sketch, monkeypatch):
    """``run_request(units, …)``: the last latents (B, C, h, w) and the pictures of a request."""
    seen: list[torch.Tensor] = []
    decode = text_to_image.decode

    def record(model, latents, *decoder):
        seen.append(latents.clone())
        return decode(model, latents, *decoder)

    monkeypatch.setattr(text_to_image, "decode", record)

    def paint_units(units, **settings):
        seen.clear()
        units = [{"picture": sketch, **unit} for unit in units]
        events = list(paint.run(request_of(units, **settings), control_cache, threading.Event()))
        return torch.cat(seen), [event for event in events if isinstance(event, Picture)]

    return paint_units


@pytest.fixture
def base_picture(control_cache, monkeypatch):
    def picture(**settings):
        request = request_of([{"picture": "0" * 32, "model": "x"}], **settings)
        plain = text_to_image.TextToImageRequest(**request.model_dump(exclude={"units"}))
        events = text_to_image.run(plain, control_cache, threading.Event())
        return next(event.image for event in events if isinstance(event, Picture))

    return picture


def theirs(pipe_class, home: Path, base=BASE, **parts) -> object:
    """diffusers' own pipeline on the same weights, with our DDIM."""
    folder = home / "models" / base
    options = {} if base == LARGE_BASE else {"safety_checker": None}
    pipe = pipe_class.from_pretrained(folder, **parts, **options)
    pipe.set_progress_bar_config(disable=True)
    samplers = samplers_in(None)
    pipe.scheduler = make_scheduler(
        pipe.scheduler.config, samplers.get("DDIM"), samplers.schedule("Uniform"), [SEED]
    )
    return pipe


def noise(side: int = 8, width: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(4, side, width or side, generator=generator)[None]


def call_pipe(pipe, side=8, width=None, **arguments) -> torch.Tensor:
    return pipe(
        "a red mug",
        height=8 * side,
        width=8 * (width or side),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        latents=noise(side, width),
        output_type="latent",
        **arguments,
    ).images


def net(home, name) -> ControlNetModel:
    return ControlNetModel.from_pretrained(home / "control" / name)


def own(home, letters) -> T2IAdapter:
    return T2IAdapter.from_pretrained(home / "control" / f"adapter-{letters}")


def assert_same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)


# --- what changes nothing ---------------------------------------------------------------------


def test_a_fresh_controlnet_changes_nothing(run_request, base_picture):
    _, (picture,) = run_request([{"model": "fresh"}])
    assert np.array_equal(picture.image, base_picture())


@pytest.mark.parametrize("model", ["net-a", "adapter-a"])
def test_weight_0_changes_nothing_and_weight_1_does(model, run_request, base_picture):
    _, (off,) = run_request([{"model": model, "weight": 0}])
    _, (on,) = run_request([{"model": model}])
    assert np.array_equal(off.image, base_picture())
    assert not np.array_equal(on.image, base_picture())


# --- equal to diffusers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "weight"),
    [
        ("net-a", 1.0),
        ("swapped", 0.5),
        pytest.param("net-a", 0.5, marks=pytest.mark.deep),
        pytest.param("swapped", 1.0, marks=pytest.mark.deep),
    ],
)
def test_one_controlnet(model, weight, run_request, home):
    ours, _ = run_request([{"model": model, "weight": weight}])
    pipe = theirs(StableDiffusionControlNetPipeline, home, controlnet=net(home, model))
    expected = call_pipe(pipe, image=scribble(), controlnet_conditioning_scale=weight)
    assert_same(ours, expected)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0.2, 0.8),
        (0.39, 0.41),
        pytest.param(0.0, 0.5, marks=pytest.mark.deep),
        pytest.param(0.3, 1.0, marks=pytest.mark.deep),
    ],
)
def test_start_and_end_of_a_controlnet(start, end, run_request, home):
    ours, _ = run_request([{"model": "net-a", "start": start, "end": end}])
    pipe = theirs(StableDiffusionControlNetPipeline, home, controlnet=net(home, "net-a"))
    expected = call_pipe(
        pipe, image=scribble(), control_guidance_start=start, control_guidance_end=end
    )
    assert_same(ours, expected)


def test_control_first_is_guess_mode(run_request, home):
    ours, _ = run_request([{"model": "net-a", "control_mode": "control", "weight": 0.8}])
    pipe = theirs(StableDiffusionControlNetPipeline, home, controlnet=net(home, "net-a"))
    expected = call_pipe(pipe, image=scribble(), guess_mode=True, controlnet_conditioning_scale=0.8)
    assert_same(ours, expected)


def test_prompt_first_lies_between_nothing_and_balanced(run_request, control_cache):
    with control_cache.lease(BASE):
        balanced, _ = run_request([{"model": "net-a"}])
        prompt_first, _ = run_request([{"model": "net-a", "control_mode": "prompt"}])
        nothing, _ = run_request([{"model": "net-a", "weight": 0}])
    assert 0 < (prompt_first - nothing).norm() < (balanced - nothing).norm()


def test_two_controlnets(run_request, home):
    ours, _ = run_request([{"model": "net-a", "weight": 0.7}, {"model": "net-b", "weight": 1.2}])
    both = MultiControlNetModel([net(home, "net-a"), net(home, "net-b")])
    pipe = theirs(StableDiffusionControlNetPipeline, home, controlnet=both)
    expected = call_pipe(
        pipe, image=[scribble(), scribble()], controlnet_conditioning_scale=[0.7, 1.2]
    )
    assert_same(ours, expected)


@pytest.mark.parametrize("weight", [0.5, pytest.param(1.0, marks=pytest.mark.deep)])
def test_one_adapter(weight, run_request, home):
    ours, _ = run_request([{"model": "adapter-a", "weight": weight}])
    pipe = theirs(StableDiffusionAdapterPipeline, home, adapter=own(home, "a"))
    expected = call_pipe(pipe, image=scribble(), adapter_conditioning_scale=weight)
    assert_same(ours, expected)


def test_start_and_end_of_an_adapter_count_whole_steps(run_request, monkeypatch):
    """diffusers' SDXL pipeline counts so: ``int(steps * factor)`` evaluations from the first."""
    active: list[bool] = []
    steer = Steering.__call__

    def record(self, *arguments):
        further = steer(self, *arguments)
        active.append("down_intrablock_additional_residuals" in further)
        return further

    monkeypatch.setattr(Steering, "__call__", record)
    run_request([{"model": "adapter-a", "end": 0.5}], steps=5)
    assert active == [True, True, False, False, False]
    active.clear()
    run_request([{"model": "adapter-a", "start": 0.5, "end": 0.9}], steps=5)
    assert active == [False, False, False, True, False]


def test_two_adapters(run_request, home):
    ours, _ = run_request([{"model": "adapter-a", "weight": 0.7}, {"model": "adapter-b"}])
    both = MultiAdapter([own(home, "a"), own(home, "b")])
    pipe = theirs(StableDiffusionAdapterPipeline, home, adapter=both)
    expected = call_pipe(
        pipe, image=[scribble(), scribble()], adapter_conditioning_scale=[0.7, 1.0]
    )
    assert_same(ours, expected)


def test_an_adapter_for_grey_maps(run_request, home):
    ours, _ = run_request([{"model": "adapter-grey"}])
    grey = torch.from_numpy(np.asarray(scribble()).copy()).float().mean(-1)[None, None] / 255
    pipe = theirs(StableDiffusionAdapterPipeline, home, adapter=own(home, "grey"))
    assert_same(ours, call_pipe(pipe, image=grey))


def test_a_controlnet_of_sd2(run_request, home):
    ours, _ = run_request([{"model": "net-2"}], model=SECOND_BASE)
    pipe = theirs(
        StableDiffusionControlNetPipeline, home, SECOND_BASE, controlnet=net(home, "net-2")
    )
    assert_same(ours, call_pipe(pipe, image=scribble()))


def test_a_controlnet_of_sdxl(run_request, home):
    ours, _ = run_request([{"model": "net-xl"}], model=LARGE_BASE)
    side = ours.shape[-1]
    pipe = theirs(
        StableDiffusionXLControlNetPipeline, home, LARGE_BASE, controlnet=net(home, "net-xl")
    )
    expected = call_pipe(pipe, side, image=scribble().resize((8 * side, 8 * side)))
    assert_same(ours, expected)


@pytest.mark.parametrize("weight", [0.5, pytest.param(1.0, marks=pytest.mark.deep)])
def test_an_adapter_of_sdxl_steers_the_middle_too(weight, run_request, home):
    ours, _ = run_request([{"model": "adapter-xl", "weight": weight}], model=LARGE_BASE)
    pipe = theirs(StableDiffusionXLAdapterPipeline, home, LARGE_BASE, adapter=own(home, "xl"))
    assert_same(ours, call_pipe(pipe, image=scribble(), adapter_conditioning_scale=weight))
    without, _ = run_request([{"model": "adapter-xl", "weight": 0}], model=LARGE_BASE)
    assert (ours - without).abs().max() > 0.01


def test_two_adapters_of_sdxl(run_request, home):
    units = [{"model": "adapter-xl", "weight": 0.7}, {"model": "adapter-xl-b"}]
    ours, _ = run_request(units, model=LARGE_BASE)
    both = MultiAdapter([own(home, "xl"), own(home, "xl-b")])
    pipe = theirs(StableDiffusionXLAdapterPipeline, home, LARGE_BASE, adapter=both)
    pictures = [scribble(), scribble()]
    assert_same(ours, call_pipe(pipe, image=pictures, adapter_conditioning_scale=[0.7, 1.0]))


def test_sizes_between_the_steps_of_sdxls_adapters_are_painted(run_request, home):
    """72 is no multiple of 16: the map goes on beyond the edge as it ends there."""
    ours, _ = run_request([{"model": "adapter-xl"}], model=LARGE_BASE, width=72, height=64)
    pipe = theirs(StableDiffusionXLAdapterPipeline, home, LARGE_BASE, adapter=own(home, "xl"))
    picture = fit(scribble(), (72, 64), "crop")[0]
    wider = np.pad(np.asarray(picture), ((0, 0), (0, 8), (0, 0)), mode="edge")
    image = torch.from_numpy(wider).movedim(-1, 0)[None].float() / 255
    assert ours.shape[-2:] == (8, 9)
    assert_same(ours, call_pipe(pipe, 8, 9, image=image))


# --- both at once -------------------------------------------------------------------------------


def test_controlnet_and_adapter_in_one_request(run_request, home):
    """By hand: the UNet's own arguments at each of DDIM's steps."""
    ours, _ = run_request([{"model": "net-a"}, {"model": "adapter-a", "weight": 0.5}])
    pipe = theirs(StableDiffusionPipeline, home)
    control = net(home, "net-a")
    maps = [0.5 * feature.repeat(2, 1, 1, 1) for feature in own(home, "a")(condition())]
    text, negative = pipe.encode_prompt("a red mug", "cpu", 1, True)
    embeds = torch.cat([negative, text])
    x = noise()
    pipe.scheduler.set_timesteps(STEPS)
    with torch.no_grad():
        for t in pipe.scheduler.timesteps:
            two = torch.cat([x, x])
            down, mid = control(two, t, embeds, condition().repeat(2, 1, 1, 1), return_dict=False)
            unconditional, conditional = pipe.unet(
                two, t, embeds,
                down_block_additional_residuals=down,
                mid_block_additional_residual=mid,
                down_intrablock_additional_residuals=[each.clone() for each in maps],
            ).sample.chunk(2)  # fmt: skip
            prediction = unconditional + GUIDANCE * (conditional - unconditional)
            x = pipe.scheduler.step(prediction, t, x).prev_sample
    assert_same(ours, x)


def condition() -> torch.Tensor:
    return torch.from_numpy(np.asarray(scribble()).copy()).movedim(-1, 0)[None].float() / 255


def test_three_units_a_batch_and_a_portrait(run_request):
    units = [
        {"model": "net-a", "weight": 0.5},
        {"model": "adapter-a", "start": 0.2, "end": 0.9},
        {"model": "net-b", "control_mode": "control", "resize_mode": "pad"},
    ]
    size = {"width": 64, "height": 96}
    _, batch = run_request(units, batch_size=2, **size)
    assert [picture.image.size for picture in batch] == [(64, 96)] * 2
    _, (alone,) = run_request(units, seed=SEED + 1, **size)
    difference = np.abs(np.asarray(alone.image, int) - np.asarray(batch[1].image, int))
    assert difference.max() <= 1


# --- work that is done once ---------------------------------------------------------------------


def test_an_adapter_and_a_hint_encoder_run_once_a_picture(run_request, control_cache, monkeypatch):
    calls = {"adapter": 0, "hint": 0, "net": 0}

    def count_calls(name, forward):
        def call(*arguments, **named):
            calls[name] += 1
            return forward(*arguments, **named)

        return call

    units = [{"model": "net-a"}, {"model": "adapter-a", "start": 0.2}]
    run_request(units)
    with (
        control_cache.lease("control:net-a") as control,
        control_cache.lease("control:adapter-a") as adapter_,
    ):
        for name, part in (
            ("net", control.net),
            ("hint", control._hint_encoder),
            ("adapter", adapter_.net),
        ):
            monkeypatch.setattr(part, "forward", count_calls(name, part.forward))
        run_request(units)
    assert calls == {"adapter": 1, "hint": 1, "net": STEPS}


def test_an_adapter_of_the_published_size_has_the_published_parameters():
    with torch.device("meta"):
        published = adapter(0, channels=(320, 640, 1280, 1280)).config
        full = T2IAdapter(3, list(published.channels), num_res_blocks=2, downscale_factor=8)
    assert sum(parameter.numel() for parameter in full.parameters()) == 77_369_280


# --- what is refused ----------------------------------------------------------------------------


def test_a_model_of_another_shape_is_refused_by_name(run_request):
    with pytest.raises(BadRequest, match="adapter-wide does not fit tiny-sd1"):
        run_request([{"model": "adapter-wide"}])
    with pytest.raises(BadRequest, match="adapter-xl-wide does not fit tiny-sdxl"):
        run_request([{"model": "adapter-xl-wide"}], model=LARGE_BASE)


def test_an_unknown_control_model_is_not_found_and_like_names_are_offered(run_request):
    with pytest.raises(NotFound, match="net-a"):
        run_request([{"model": "net-aa"}])


def test_a_picture_that_is_gone_is_named(control_cache):
    request = request_of([{"picture": "f" * 32, "model": "net-a"}])
    with pytest.raises(NotFound, match="no longer here"):
        list(paint.run(request, control_cache, threading.Event()))


def test_a_stop_is_noticed_within_one_step(control_cache, sketch):
    stop, steps = threading.Event(), []

    def record():
        request = request_of([{"picture": sketch, "model": "net-a"}], steps=50)
        for event in paint.run(request, control_cache, stop):
            if isinstance(event, Progress) and event.step:
                steps.append(event.step)
                stop.set()

    with pytest.raises(Stopped):
        record()
    assert steps == [1]


def test_the_picture_carries_the_request_that_makes_it_again(run_request):
    units = [{"model": "net-a", "weight": 0.5}]
    _, (first, second) = run_request(units, batch_count=2)
    assert first.request.units[0].weight == 0.5
    again, _ = run_request(units, seed=second.request.seed)
    assert again.shape[0] == 1
    assert isinstance(first.request, ControlRequest)
    assert (first.request.batch_count, second.request.seed) == (1, SEED + 1)


def test_maps_have_eight_pixels_for_a_latent_whatever_the_autoencoder(
    control_cache, sketch, home, monkeypatch
):
    sizes = []

    def condition_map(unit, size, *further):
        sizes.append(size)
        yield Image.new("RGB", size)

    monkeypatch.setattr(paint, "condition_map", condition_map)
    settings = request_of([{"picture": sketch, "model": "net-a"}], width=64, height=96, hires={})
    for factor, expected in ((8, [(64, 96), (128, 192)]), (16, [(32, 48), (64, 96)])):
        sizes.clear()
        list(paint._maps(settings, factor, home, control_cache, threading.Event()))
        assert sizes == expected


@pytest.mark.parametrize("model", ["net-a", "adapter-a"])
def test_units_are_followed_at_the_second_size_of_a_hires_pass_too(control_cache, sketch, model):
    """At strength 1 nothing is left of the first pass: it is the steered picture of that size."""

    def paint_with(**settings):
        request = request_of([{"picture": sketch, "model": model}], **settings)
        events = paint.run(request, control_cache, threading.Event())
        (made,) = (np.asarray(each.image) for each in events if isinstance(each, Picture))
        return made

    hires = {"width": 96, "height": 128, "strength": 1}
    assert np.array_equal(paint_with(hires=hires), paint_with(width=96, height=128))


def test_the_result_counts_pictures_and_seconds_and_names_what_had_no_effect(control_cache, sketch):
    request = request_of([{"picture": sketch, "model": "net-a"}], guidance=1, guidance_rescale=0.7)
    *_, result = paint.run(request, control_cache, threading.Event())
    assert isinstance(result, Result)
    assert result.data["pictures"] == 1
    assert result.data["seconds"] > 0
    (note,) = result.data["notes"]
    assert note["values"]["field"] == "Guidance rescale"
