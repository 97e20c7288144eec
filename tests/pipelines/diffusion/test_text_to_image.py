"""The whole way from a request to pictures, on a tiny random Stable Diffusion."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from pipelines.core.engine import Engine
from pipelines.core.errors import BadRequest, NotFound, OutOfMemory, Stopped, UserError, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion import text_to_image
from pipelines.diffusion.denoise import GuidedUNet, guidance_embedding
from pipelines.diffusion.latents.overflow import overflow
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.prompts import PromptEmbeds
from pipelines.diffusion.requests import MAX_SEED, TextToImageRequest
from pipelines.diffusion.resolving import alone, resolve, seeds_of
from pipelines.diffusion.samplers import Samplers, samplers_in
from pipelines.diffusion.styles import Style, styles

SAMPLERS = Samplers()


def request_of(**settings) -> TextToImageRequest:
    base = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 3, "seed": 7}
    return validate(TextToImageRequest, base | settings)


def paint(cache, **settings) -> list[Progress | Picture | Result]:
    return list(text_to_image.run(request_of(**settings), cache, threading.Event()))


def pictures(events) -> list[Picture]:
    return [event for event in events if isinstance(event, Picture)]


def difference(a, b) -> int:
    """The largest of any pixel's channels, in 1/255."""
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def test_a_request_with_nothing_but_a_prompt_is_painted_with_the_models_defaults(cache, catalog):
    request = TextToImageRequest(prompt="a red mug", model="tiny-sd1")
    events = list(text_to_image.run(request, cache, threading.Event()))
    (picture,) = pictures(events)
    entry = catalog.get("tiny-sd1")
    made = picture.request
    assert picture.image.mode == "RGB"
    assert picture.image.size == (entry.native_size, entry.native_size)
    assert (made.sampler, made.schedule) == (entry.defaults.sampler, entry.defaults.schedule)
    assert (made.steps, made.guidance) == (entry.defaults.steps, entry.defaults.guidance)
    assert made.seed >= 0
    assert picture.seconds > 0
    assert isinstance(events[-1], Result)
    assert events[-1].data["pictures"] == 1


def test_every_step_is_reported_with_a_preview(cache):
    events = paint(cache, steps=4, batch_count=2, sampler="Euler")
    steps = [event for event in events if isinstance(event, Progress) and event.note is None]
    assert [(s.step, s.total) for s in steps] == [(i, 8) for i in range(1, 9)]
    assert all(step.preview is not None for step in steps)
    # The first batch's picture comes before the second batch begins.
    assert [type(event).__name__ for event in events if event in steps or event not in steps][
        -7:
    ] == ["Picture", *["Progress"] * 4, "Picture", "Result"]


@pytest.mark.parametrize(
    "sampler",
    [
        *("Euler a", "DPM++ SDE", "SA-Solver"),
        *(pytest.param(each, marks=pytest.mark.deep) for each in ("Euler", "DPM++ 2M SDE")),
    ],
)
def test_a_seed_gives_the_same_picture_alone_and_in_a_batch_of_4(cache, sampler):
    batch = pictures(paint(cache, sampler=sampler, batch_size=4, prompt="a (red:1.2) mug"))
    assert [picture.request.seed for picture in batch] == [7, 8, 9, 10]
    for picture in batch:
        assert (picture.request.batch_count, picture.request.batch_size) == (1, 1)
        (single,) = pictures(text_to_image.run(picture.request, cache, threading.Event()))
        assert difference(picture.image, single.image) <= 1
        assert single.request == picture.request
    assert difference(batch[0].image, batch[1].image) > 5


def test_batches_count_the_seed_up_and_begin_again_after_the_last(cache):
    made = pictures(paint(cache, seed=MAX_SEED, batch_count=2, steps=1))
    assert [picture.request.seed for picture in made] == [MAX_SEED, 0]
    request = request_of(seed=10, batch_count=3, batch_size=2)
    assert [seeds_of(request, batch) for batch in range(3)] == [[10, 11], [12, 13], [14, 15]]
    assert alone(request, 12) == request_of(seed=12)


@pytest.mark.parametrize("sampler", [s.name for s in SAMPLERS])
def test_every_sampler_paints(cache, sampler):
    (picture,) = pictures(paint(cache, sampler=sampler, width=64, height=64))
    assert np.asarray(picture.image).std() > 1


def test_a_picture_is_the_one_that_diffusers_paints(cache):
    """The whole loop against StableDiffusionPipeline with the same scheduler, noise and prompt."""
    from diffusers import DDIMScheduler

    request = request_of(
        sampler="DDIM", schedule="Uniform", guidance=5, negative_prompt="blur", steps=6
    )
    (ours,) = pictures(text_to_image.run(request, cache, threading.Event()))
    with cache.lease("tiny-sd1") as model:
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pipe(model.pipe, dtype=model.dtype)
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        pipe.set_progress_bar_config(disable=True)
        theirs = pipe(
            "a red mug",
            negative_prompt="blur",
            num_inference_steps=6,
            guidance_scale=5,
            width=ours.image.width,
            height=ours.image.height,
            generator=torch.Generator().manual_seed(7),
        ).images[0]
    assert difference(ours.image, theirs) <= 1


@pytest.mark.parametrize("after", [0, 1, 3])
def test_stopping_takes_effect_within_one_step(cache, after):
    stop = threading.Event()
    evaluations = []
    with cache.lease("tiny-sd1") as model:
        counting = model.pipe.unet.register_forward_hook(lambda *_: evaluations.append(1))
        try:
            events = text_to_image.run(request_of(steps=20), cache, stop)
            for _ in range(after):
                next(events)
            stop.set()
            before = len(evaluations)
            with pytest.raises(Stopped):
                list(events)
        finally:
            counting.remove()
    assert len(evaluations) - before <= 1


@pytest.mark.parametrize("prompt", ["", "🦆🎈", "（中文）", "a" * 900, r"\(", "((((", "BREAK"])
def test_unusual_prompts_are_painted(cache, prompt):
    assert len(pictures(paint(cache, prompt=prompt, steps=1))) == 1


def test_sizes_that_are_not_square_and_odd_in_latents_are_painted(cache):
    (picture,) = pictures(paint(cache, width=72, height=104, steps=1))
    assert picture.image.size == (72, 104)


def test_guidance_up_to_1_asks_the_unet_for_the_prompt_alone(cache):
    rows = []
    with cache.lease("tiny-sd1") as model:
        seen = model.pipe.unet.register_forward_pre_hook(
            lambda _, args: rows.append(args[0].shape[0])
        )
        try:
            paint(cache, steps=1, guidance=1)
            paint(cache, steps=1, guidance=1.5)
        finally:
            seen.remove()
    assert rows == [1, 2]


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"sampler": "Eulr"}, NotFound, "no sampler called Eulr.*Euler"),
        ({"schedule": "Karas"}, NotFound, "no schedule called Karas.*Karras"),
        ({"style": "Watercolor"}, NotFound, "no style called Watercolor.*Watercolour"),
        ({"model": "tiny-sd2"}, NotFound, "no model called tiny-sd2.*tiny-sd1"),
        ({"model": "../../etc/passwd"}, NotFound, "no model called ../../etc/passwd"),
        ({"sampler": "DDIM", "schedule": "Karras"}, BadRequest, "DDIM cannot follow .* Karras"),
        ({"sampler": "LCM", "steps": 60}, BadRequest, "LCM takes at most 50 steps, not 60"),
        ({"clip_skip": 9}, BadRequest, "Clip skip is 9; .* at most 3"),
        ({"prompt": "(a:99)"}, BadRequest, "A prompt weight is 99.0"),
        ({"width": 0}, BadRequest, "Width is 0; it must be at least 64"),
        ({"width": 65}, BadRequest, "Width is 65; it must be a multiple of 8"),
        ({"steps": 10000}, BadRequest, "Steps is 10000; it must be at most 150"),
        ({"guidance": float("nan")}, BadRequest, "Guidance is nan"),
        ({"prompt": "a" * 1_000_000}, BadRequest, "Prompt has 1000000 characters; at most 10000"),
        (
            {"prompt": "a" * 9_990, "style": "Photograph"},
            BadRequest,
            "Prompt has .* at most 10000",
        ),
    ],
)
def test_bad_requests_get_one_clear_sentence(cache, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        paint(cache, **settings)


def test_numbers_that_overflow_are_an_error_and_not_a_black_picture(cache, monkeypatch):
    with cache.lease("tiny-sd1") as model:
        monkeypatch.setattr(model.pipe.unet.conv_out.bias, "data", torch.full((4,), torch.inf))
        with pytest.raises(
            UserError, match=r"overflowed with Euler, 3 steps .* Lower the guidance"
        ):
            paint(cache, sampler="Euler", schedule="Uniform")


def test_out_of_memory_says_what_was_asked(cache, monkeypatch):
    def run_out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(text_to_image, "decode", run_out_of_memory)
    with pytest.raises(OutOfMemory, match=r"at 64×64, batch size 2: 2.* was asked for"):
        paint(cache, width=64, height=64, batch_size=2, steps=1)


# --- styles and open settings ----------------------------------------------------------------


def test_a_style_is_worked_into_the_prompts_of_the_picture(cache):
    (picture,) = pictures(paint(cache, style="Watercolour", negative_prompt="text", steps=1))
    assert picture.request.style is None
    assert picture.request.prompt.startswith("watercolour of a red mug, ")
    assert picture.request.negative_prompt.startswith("text, photo")


def test_styles_hold_braces_and_missing_places_well():
    assert Style("s", {}, "art of {prompt}").apply("{x} {prompt}", "") == (
        "art of {x} {prompt}",
        "",
    )
    assert Style("s", {}, "foggy", "sun").apply("a mug", "") == ("a mug, foggy", "sun")
    assert all({*style.title} == {"en", "zh"} for style in styles().values())
    assert len(styles()) >= 10


def test_an_open_schedule_is_the_models_where_the_sampler_follows_it_else_uniform(catalog):
    entry = catalog.get("tiny-sd1")
    assert entry.defaults.schedule == "Karras"
    assert resolve(request_of(sampler="Heun"), entry, SAMPLERS).schedule == "Karras"
    assert resolve(request_of(sampler="DDIM"), entry, SAMPLERS).schedule == "Uniform"


def test_eta_is_kept_only_where_it_applies(catalog):
    entry = catalog.get("tiny-sd1")
    assert resolve(request_of(sampler="DDIM"), entry, SAMPLERS).eta == 0.0
    assert resolve(request_of(sampler="DDIM", eta=0.5), entry, SAMPLERS).eta == 0.5
    assert resolve(request_of(sampler="Euler", eta=0.5), entry, SAMPLERS).eta is None


def notes(events) -> list[str]:
    return [str(Message.from_json(note)) for note in events[-1].data["notes"]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"guidance": 1, "negative_prompt": "fog"},
            "Negative prompt was left out: the guidance is 1.0, and it needs more than 1.",
        ),
        (
            {"guidance": 0.5, "guidance_rescale": 0.7},
            "Guidance rescale was left out: the guidance is 0.5, and it needs more than 1.",
        ),
        ({"sampler": "Euler", "eta": 0.5}, "Eta was left out: Euler does not use it."),
    ],
)
def test_a_setting_without_effect_is_named_and_not_written_into_the_picture(
    cache, settings, sentence
):
    events = paint(cache, **settings, width=64, height=64, steps=1)
    (picture,) = pictures(events)
    assert notes(events) == [sentence]
    assert (picture.request.guidance_rescale, picture.request.eta) == (0, None)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"guidance": 0.0},
        {"sampler": "DDIM"},
        {"sampler": "TCD", "eta": 0.3},
        {"negative_prompt": "fog", "clip_skip": 2, "guidance_rescale": 0.7},
    ],
)
def test_nothing_is_said_of_defaults_and_of_what_has_an_effect(cache, settings):
    events = paint(cache, **settings, width=64, height=64, steps=1)
    assert notes(events) == []
    (picture,) = pictures(events)
    again = text_to_image.run(picture.request, cache, threading.Event())
    assert notes(list(again)) == []


# --- guidance ----------------------------------------------------------------------------------


class Recorder:
    """Stands in for a UNet: returns a fixed prediction for each row and remembers the call."""

    def __init__(self, *rows: torch.Tensor) -> None:
        self.rows = torch.stack(rows)

    def __call__(self, sample, timestep, return_dict, **arguments):
        self.sample, self.arguments = sample, arguments
        return (self.rows,)


def make_guided(unet, config=None, pooled=None, **settings):
    text = torch.ones(1, 77, 8)
    embeds = PromptEmbeds(text, -text, pooled, None if pooled is None else -pooled)
    settings = {"guidance": 3.0, "rescale": 0.0, "batch_size": 1, "size": (64, 96)} | settings
    return GuidedUNet(unet, config, embeds, dtype=torch.float32, device="cpu", **settings)


def test_guidance_is_the_unconditional_plus_s_times_the_difference():
    u, c = torch.randn(2, 4, 8, 8).unbind()
    unet = Recorder(u, c)
    prediction = make_guided(unet)(torch.zeros(1, 4, 8, 8), torch.tensor(5))
    assert torch.allclose(prediction[0], u + 3 * (c - u))
    assert unet.sample.shape[0] == 2
    assert (unet.arguments["encoder_hidden_states"][0] == -1).all()  # the negative comes first
    assert (unet.arguments["encoder_hidden_states"][1] == 1).all()


def test_guidance_rescale_pulls_the_deviation_back_to_the_conditional_ones():
    u, c = torch.randn(2, 4, 8, 8).unbind()
    wide = u + 3 * (c - u)
    latents, t = torch.zeros(1, 4, 8, 8), torch.tensor(5)
    full = make_guided(Recorder(u, c), rescale=1.0)(latents, t)[0]
    assert torch.isclose(full.std(), c.std(), rtol=1e-4)
    half = make_guided(Recorder(u, c), rescale=0.5)(latents, t)[0]
    assert torch.allclose(half, 0.5 * full + 0.5 * wide, atol=1e-5)


@pytest.mark.parametrize(
    ("interval", "rows"),
    [
        ((0.0, 1.0), [2, 2, 2, 2, 2]),
        ((0.2, 0.8), [1, 2, 2, 2, 1]),
        ((0.25, 1.0), [1, 1, 2, 2, 2]),
        ((0.0, 0.1), [2, 1, 1, 1, 1]),
    ],
)
def test_outside_of_its_interval_guidance_costs_no_evaluation(interval, rows):
    u, c = torch.randn(2, 4, 8, 8).unbind()
    unet = Recorder(u, c)
    predict = make_guided(unet, pooled=torch.ones(1, 5), interval=interval, evaluations=5)
    for count in rows:
        unet.rows = torch.stack([u, c][-count:])
        prediction = predict(torch.zeros(1, 4, 8, 8), torch.tensor(5))
        assert unet.sample.shape[0] == count
        assert torch.allclose(prediction[0], u + 3 * (c - u) if count == 2 else c)
        assert (unet.arguments["encoder_hidden_states"][-1] == 1).all()
        assert unet.arguments["added_cond_kwargs"]["text_embeds"].shape == (count, 5)


def test_guidance_in_an_interval_is_between_all_and_none(cache):
    settings = {"steps": 6, "sampler": "Heun"}
    (all_,), (part,) = (
        pictures(paint(cache, **settings, **more)) for more in ({}, {"guidance_end": 0.5})
    )
    assert difference(all_.image, part.image) > 0
    assert part.request.guidance_end == 0.5
    with pytest.raises(BadRequest, match=r"begins after 0\.6 of the steps and ends after 0\.6"):
        request_of(guidance_start=0.6, guidance_end=0.6)


def test_sdxl_is_told_pooled_embedding_and_size():
    unet = Recorder(*torch.zeros(2, 4, 8, 8))
    make_guided(unet, pooled=torch.ones(1, 5))(torch.zeros(1, 4, 8, 8), torch.tensor(5))
    added = unet.arguments["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]] * 2
    assert added["text_embeds"].tolist() == [[-1] * 5, [1] * 5]


def test_what_steers_the_unet_is_asked_at_every_step():
    unet = Recorder(*torch.zeros(2, 4, 8, 8))
    predict = make_guided(
        unet, steer=lambda sample, t, *rest: {"mid_block_additional_residual": sample + t}
    )
    predict(torch.zeros(1, 4, 8, 8), torch.tensor(5))
    assert (unet.arguments["mid_block_additional_residual"] == 5).all()
    assert unet.arguments["mid_block_additional_residual"].shape[0] == 2


def test_a_unet_distilled_for_guidance_is_told_the_scale_and_called_once():
    from types import SimpleNamespace

    unet = Recorder(torch.zeros(4, 8, 8))
    config = SimpleNamespace(time_cond_proj_dim=16)
    make_guided(unet, config)(torch.zeros(1, 4, 8, 8), torch.tensor(5))
    assert unet.sample.shape[0] == 1
    assert torch.equal(unet.arguments["timestep_cond"], guidance_embedding(2.0, 16))


def test_the_guidance_embedding_is_diffusers(cache):
    with cache.lease("tiny-sd1") as model:
        theirs = model.pipe.get_guidance_scale_embedding(torch.tensor([6.5]), embedding_dim=16)
    assert torch.allclose(guidance_embedding(6.5, 16), theirs, atol=1e-4)


# --- families with a pipeline of their own ----------------------------------------------------


@pytest.fixture
def whole_cache(cache, monkeypatch):
    """The cache, with the tiny model taken for one whose denoising loop is diffusers' own."""
    with cache.lease("tiny-sd1") as model:
        defaults = model.entry.defaults.model_copy(update={"sampler": None, "schedule": None})
        entry = model.entry.model_copy(update={"family": "other", "defaults": defaults})
        monkeypatch.setattr(model, "entry", entry)
        yield cache


def test_a_whole_pipeline_reports_steps_and_paints_the_same_alone_and_in_a_batch(whole_cache):
    events = paint(whole_cache, batch_size=2, width=64, height=64, steps=4)
    steps = [event for event in events if isinstance(event, Progress)]
    # PNDM, its own scheduler, evaluates once more than it has steps.
    assert [step.step for step in steps] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert {step.total for step in steps} == {8}
    assert all(step.preview is not None for step in steps)
    for picture in pictures(events):
        assert picture.request.sampler is None
        (single,) = pictures(text_to_image.run(picture.request, whole_cache, threading.Event()))
        assert difference(picture.image, single.image) == 0


def test_a_whole_pipeline_stops_within_one_step(whole_cache):
    stop = threading.Event()
    events = text_to_image.run(request_of(steps=50, width=64, height=64), whole_cache, stop)
    next(events)
    stop.set()
    with pytest.raises(Stopped):
        list(events)
    assert not [t for t in threading.enumerate() if t.name.startswith("paint ")]


def test_a_whole_pipelines_error_reaches_the_caller(whole_cache, monkeypatch):
    with whole_cache.lease("tiny-sd1") as model:
        monkeypatch.setattr(model.pipe.vae, "decode", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            paint(whole_cache, width=64, height=64, steps=1)


def test_whole_pipelines_say_what_they_do_not_read(whole_cache):
    result = paint(whole_cache, prompt="a (red:1.3) mug", width=64, height=64, steps=1)[-1]
    (note,) = result.data["notes"]
    assert note["template"] == "{model} reads brackets and BREAK as plain text."
    events = paint(whole_cache, clip_skip=2, guidance_rescale=0.7, eta=0.5, steps=1)
    assert notes(events) == [
        "Clip skip was left out: tiny-sd1 does not use it.",
        "Guidance rescale was left out: tiny-sd1 does not use it.",
        "Eta was left out: tiny-sd1 does not use it.",
    ]
    made = pictures(events)[0].request
    assert (made.clip_skip, made.guidance_rescale, made.eta) == (1, 0, None)
    with pytest.raises(BadRequest, match="multiples of 16; the width is 72"):
        paint(whole_cache, width=72, height=64, steps=1)
    with pytest.raises(BadRequest, match="keeps its own scheduler and schedule; leave Karras out"):
        paint(whole_cache, schedule="Karras")
    with pytest.raises(BadRequest, match="Euler does not work with models of the family other"):
        paint(whole_cache, sampler="Euler")


def test_an_engine_runs_its_module(cache):
    engine = Engine("text_to_image", TextToImageRequest, "pipelines.diffusion.text_to_image")
    events = list(engine.run(request_of(steps=1), cache, threading.Event()))
    assert isinstance(events[-1], Result)


def test_an_own_sampler_of_the_home_folder_paints(cache, catalog, tmp_path, monkeypatch):
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "own.py").write_text(
        "from diffusers import EulerDiscreteScheduler\nclass Own(EulerDiscreteScheduler): pass\n"
    )
    with cache.lease("tiny-sd1") as model:
        assert isinstance(model, DiffusionModel)
        assert model.home == catalog.home
        monkeypatch.setattr(model, "home", tmp_path)
        (own,) = pictures(paint(cache, sampler="Own"))
        assert samplers_in(tmp_path).get("Own").source.name == "own.py"
    (euler,) = pictures(paint(cache, sampler="Euler", schedule="Uniform"))
    assert difference(own.image, euler.image) == 0


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_an_overflow_without_guidance_does_not_blame_it(guidance):
    settings = TextToImageRequest(prompt="", sampler="Euler", steps=5, guidance=guidance)
    assert "guidance" not in str(overflow(settings, guided=False))
    assert "Lower the guidance" in str(overflow(settings, guided=True))
    # What was added to the model is the likelier cause.
    loras = (LoraUse(name="wool"), LoraUse(name="clay", weight=0))
    with_loras = settings.model_copy(update={"loras": loras})
    assert "the LoRAs wool, so there" in str(overflow(with_loras, guided=True))


def test_pictures_of_a_batch_are_decoded_as_each_alone_and_one_at_a_time(cache):
    """Bit for bit, and in the memory of one."""
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with cache.lease("tiny-sd1") as model, pytest.MonkeyPatch.context() as patch:
        vae, rows = model.pipe.vae, []
        decode = vae.decode
        patch.setattr(vae, "decode", lambda z: rows.append(len(z)) or decode(z))
        together = text_to_image.decode(model, latents)
        assert rows == [1, 1, 1]
        for one, latent in zip(together, latents, strict=True):
            assert torch.equal(text_to_image.decode(model, latent[None])[0], one)
