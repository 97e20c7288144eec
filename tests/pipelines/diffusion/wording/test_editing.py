"""Prompt editing and alternation: what is said at each step, and what the UNet is told."""

from __future__ import annotations

import threading
import time
from itertools import groupby

import numpy as np
import pytest
import torch
from diffusers import HeunDiscreteScheduler, PNDMScheduler
from PIL import Image

from pipelines.core.errors import Stopped, validate
from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.denoise import steps_of
from pipelines.diffusion.hires import passes as passes_module
from pipelines.diffusion.prompts import encode, encode_steps
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.wording.editing import texts_of


def schedule(prompt: str, steps: int = 10, before: int | None = None) -> list[tuple[int, str]]:
    """Each text with the last step at which it is said."""
    said = enumerate(texts_of(prompt, steps, before), start=1)
    return [(list(run)[-1][0], text) for text, run in groupby(said, key=lambda each: each[1])]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("test", [(10, "test")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: 3]", [(3, "a "), (10, "a b")]),
        ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("a [b::4]", [(4, "a b"), (10, "a ")]),
        ("a [unbalanced", [(10, "a [unbalanced")]),
        ("a [b:.5] c", [(5, "a  c"), (10, "a b c")]),
        ("a [b:0.25] c", [(2, "a  c"), (10, "a b c")]),
        ("a [{b|d{:.5] c", [(5, "a  c"), (10, "a {b|d{ c")]),
        ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
        ("[x [a:b:3] y]", [(3, "[x a y]"), (10, "[x b y]")]),
        ("[a:b:0]", [(10, "b")]),
        ("[a:b:99]", [(10, "a")]),
        ("[a:b:1.5]", [(10, "a")]),  # of the second pass
        (r"\[a:b:3\] [c\:d]", [(10, r"\[a:b:3\] [c\:d]")]),
        ("[a] [a:b] [a:b:c:3] (a:1.2)", [(10, "[a] [a:b] [a:b:c:3] (a:1.2)")]),
    ],
)  # fmt: skip
def test_what_is_said_up_to_which_step(prompt, expected):
    assert schedule(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a|(b:1.1)]", ["a", "(b:1.1)"]),
        ("[fe|]male", ["female", "male"]),
        ("[fe|||]male", ["female", "male", "male", "male"]),
        ("[a|[b|c]]", ["a", "c"]),  # at even steps the inner one has its second
        (r"[a\|b|c]", [r"a\|b", "c"]),
    ],
)
def test_alternation_says_another_one_at_each_step(prompt, expected):
    assert texts_of(prompt, 8) == tuple((expected * 8)[:8])


def test_the_second_pass_counts_on():
    assert schedule("a [b:.5] c", before=10) == [(10, "a b c")]
    assert schedule("a [b:1.5] c", before=10) == [(5, "a  c"), (10, "a b c")]
    assert schedule("a [b:13] c", before=10) == [(3, "a  c"), (10, "a b c")]


def test_shares_are_not_lost_to_rounding():
    for steps in (1, 7, 20, 25, 50, 100):
        for hundredth in range(1, 100):
            said = texts_of(f"[a:b:.{hundredth:02}]", steps)
            assert said.count("a") == steps * hundredth // 100


@pytest.mark.parametrize("prompt", ["[" * 5000 + ":3]", "[a:b:3]" * 1400, "[:" * 5000, "[|" * 5000])
def test_the_time_to_read_a_prompt_grows_with_its_length_only(prompt):
    began = time.process_time()
    texts_of(prompt, 150)
    assert time.process_time() - began < 3


def test_the_steps_of_evaluations():
    heun = HeunDiscreteScheduler()
    heun.set_timesteps(4)
    assert steps_of(heun, 0) == [0, 0, 1, 1, 2, 2, 3]
    assert steps_of(heun, 2) == [2, 2, 3]
    pndm = PNDMScheduler(skip_prk_steps=True)
    pndm.set_timesteps(4)
    assert steps_of(pndm, 0) == [0, 1, 1, 2, 3]
    assert steps_of(pndm, 2) == [2, 3, 3]


# --- painting -------------------------------------------------------------------------------------


def paint(cache, prompt: str, **settings) -> Picture:
    base = {"model": "tiny-sd1", "steps": 4, "seed": 7, "sampler": "Euler"}
    request = validate(TextToImageRequest, base | {"prompt": prompt} | settings)
    events = text_to_image.run(request, cache, threading.Event())
    return next(event for event in events if isinstance(event, Picture))


def test_a_picture_is_painted_with_what_is_said_at_each_step(cache):
    def pixels(prompt: str, **settings) -> np.ndarray:
        return np.asarray(paint(cache, prompt, **settings).image, int)

    def differ(one: np.ndarray, other: np.ndarray) -> bool:
        return bool((one != other).any())

    mug, boat = pixels("a red mug"), pixels("a blue boat")
    assert not differ(pixels("a [red mug:blue boat:4]"), mug)
    assert not differ(pixels("a [red mug:blue boat:0]"), boat)
    halves = [pixels(f"a [red mug:blue boat:{when}]") for when in (".5", "2", "3")]
    assert not differ(halves[0], halves[1])
    assert all(differ(halves[1], other) for other in (halves[2], mug, boat))
    # Its own words stand in the picture, and weights within are weights.
    picture = paint(cache, "a [mug|(boat:1.3)]")
    assert picture.request.prompt == "a [mug|(boat:1.3)]"
    assert differ(np.asarray(picture.image, int), pixels("a [mug|boat]"))


@pytest.fixture
def encoded_passes(monkeypatch) -> list:
    """What is encoded: of each pass the pairs of prompts at its evaluations."""
    passes, encode = [], passes_module.encoding_steps

    def record(pipe, steps, *rest):
        passes.append(steps)
        return encode(pipe, steps, *rest)

    monkeypatch.setattr(passes_module, "encoding_steps", record)
    return passes


def test_steps_are_counted_over_the_whole_schedule(cache, encoded_passes):
    """With a strength of a half the first half of the steps is over when it begins."""
    with cache.lease("tiny-sd1") as model:
        name = keep_input(model.home, "ada", Image.new("RGB", (64, 64), "red"))
    begun = {"picture": name, "strength": 0.5, "all_steps": False}
    paint(cache, "[a:b:.75]", from_picture=begun, width=64, height=64)
    assert [pairs[0][0] for pairs in encoded_passes[0]] == ["a", "b"]


def test_a_second_pass_begins_with_what_was_said_last(cache, encoded_passes):
    larger = {"scale": 2, "upscaler": "Latent", "strength": 0.5}
    paint(cache, "[a:b:.5] [c:d:1.5] [e:f:7]", hires=larger, width=64, height=64)
    assert [pairs[0][0] for pairs in encoded_passes[0]] == ["a c e", "a c e", "b c e", "b c e"]
    assert [pairs[0][0] for pairs in encoded_passes[1]] == ["b c e", "b c e", "b d e", "b d f"]


def test_a_second_pass_has_the_same_words_and_choices_of_its_own_by_the_seed(cache, encoded_passes):
    larger = {"scale": 2, "upscaler": "Latent", "strength": 0.6, "negative_prompt": "{x|y|z}"}
    picture = paint(cache, "{a|b|c}", hires=larger, width=64, height=64)
    assert picture.request.hires.negative_prompt in "xyz"
    assert picture.parameters["Hires Negative Template"] == larger["negative_prompt"]
    assert encoded_passes[0][0] == [(picture.request.prompt, "")]
    assert encoded_passes[1][0] == [(picture.request.prompt, picture.request.hires.negative_prompt)]
    encoded_passes.clear()
    again = paint(cache, **picture.request.model_dump())
    assert again.request == picture.request
    assert np.array_equal(np.asarray(again.image), np.asarray(picture.image))


def test_what_is_said_at_many_steps_is_read_once_and_can_be_stopped(cache):
    """Others' pictures wait meanwhile: 150 steps of a long prompt took minutes."""
    stop = threading.Event()
    tail = "mug, " * 200  # chunks that are the same at each step
    said = "|".join(f"{number}" for number in range(10, 99))
    request = validate(
        TextToImageRequest,
        {"model": "tiny-sd1", "steps": 89, "sampler": "Euler", "prompt": f"[{said}] {tail}"},
    )
    with cache.lease("tiny-sd1") as model:
        encoder, read = model.pipe.text_encoder, []
        forward = encoder.forward

        def record(*arguments, **options):
            read.append(arguments)
            if len(read) == 5:
                stop.set()
            return forward(*arguments, **options)

        encoder.forward = record
        try:
            with pytest.raises(Stopped):
                list(text_to_image.run(request, cache, stop))
            assert len(read) == 5
            stop.clear()
            pairs = [[(text, "")] for text in texts_of(request.prompt, 89)]
            read.clear()
            encode_steps(model.pipe, pairs, 1, "cpu")
        finally:
            encoder.forward = forward
    assert len(read) < 2 * 89


def test_all_that_is_said_has_as_many_chunks(cache):
    """A network for one length of text would be made anew for another."""
    long = "many words, " * 60
    with cache.lease("tiny-sd1") as model:
        said = texts_of(f"[mug:{long}:.5]", 4)
        embeds = encode_steps(model.pipe, [[(text, "")] for text in said], 1, "cpu")
        short = encode(model.pipe, "mug", "", 1, "cpu")
    assert {each.prompt.shape for each in embeds} == {embeds[-1].prompt.shape}
    assert embeds[0].prompt.shape[1] > 77
    assert torch.equal(embeds[0].prompt[:, :77], short.prompt)
    assert embeds[0] is embeds[1]
    assert embeds[1] is not embeds[2]
