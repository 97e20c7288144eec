"""A1111's prompt syntax, and the embeddings that come of it."""

from __future__ import annotations

import contextlib
import time

import pytest
import torch

from pipelines.core.errors import BadRequest
from pipelines.diffusion.lora.tags import tags_in, without_tags
from pipelines.diffusion.prompts import Fragment, encode, is_weighted, parse, split_tokens
from tests.twins import clip_config, clip_tokenizer, sd1


def flat(prompt: str) -> list[tuple[str, float]]:
    (part,) = parse(prompt)
    return [(fragment.text, round(fragment.weight, 4)) for fragment in part]


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("a red mug", [("a red mug", 1)]),
        ("a (red) mug", [("a ", 1), ("red", 1.1), (" mug", 1)]),
        ("a ((red)) mug", [("a ", 1), ("red", 1.21), (" mug", 1)]),
        ("a [red] mug", [("a ", 1), ("red", 0.9091), (" mug", 1)]),
        ("a (red:1.3) mug", [("a ", 1), ("red", 1.3), (" mug", 1)]),
        ("a (red: .5 ) mug", [("a ", 1), ("red", 0.5), (" mug", 1)]),
        ("(a (red:1.5) mug:0.8)", [("a ", 0.8), ("red", 1.2), (" mug", 0.8)]),
        ("([red])", [("red", 1)]),
        (r"a \(red\) \[mug\] \\", [("a (red) [mug] \\", 1)]),
        ("(red:1.0) mug", [("red mug", 1)]),
        ("time: 10:30", [("time: 10:30", 1)]),
        ("a) mug]", [("a) mug]", 1)]),
        ("a (red mug", [("a ", 1), ("red mug", 1.1)]),
        ("[a:1.3)", [("a:1.3)", 0.9091)]),
        ("(red:-0.5)", [("red", -0.5)]),
        ("🦆", [("🦆", 1)]),
        ("", []),
        ("()", []),
    ],
)
def test_weights_are_read_as_a1111_reads_them(prompt, fragments):
    assert flat(prompt) == fragments


def test_break_begins_a_new_part_also_within_brackets():
    assert parse("a mug BREAK snow") == [[Fragment("a mug")], [Fragment("snow")]]
    assert parse("(a BREAK b:2)") == [[Fragment("a", 2.0)], [Fragment("b", 2.0)]]
    assert parse("BREAKFAST") == [[Fragment("BREAKFAST")]]
    assert parse("a \n BREAK\t BREAK b") == [[Fragment("a")], [], [Fragment("b")]]
    assert parse("BREAK a") == [[], [Fragment("a")]]


def test_a_break_at_the_end_begins_nothing():
    assert parse("a mug BREAK ") == [[Fragment("a mug")]]
    assert parse("BREAK") == [[]]


@pytest.mark.parametrize(
    "piece", [" ", "BREAK ", ":1", "1", ":", "(:1", "\\", "<lora:", "<", "<a", "[", "( "]
)
def test_the_time_to_read_a_prompt_grows_with_its_length_only(piece):
    def seconds(count: int) -> float:
        prompt = "a" + ":" + piece * count + "x"
        before = time.thread_time()
        with contextlib.suppress(BadRequest):
            is_weighted(without_tags(prompt))
        with contextlib.suppress(BadRequest):
            tags_in(prompt)
        return time.thread_time() - before

    short, long = (min(seconds(count) for _ in range(3)) for count in (1_000, 30_000))
    assert long < 200 * short  # thirty times as long; its square would be nine hundred


def test_ten_thousand_brackets_are_parsed_or_refused_in_no_time():
    assert flat("[" * 5000 + "a" + "]" * 5000) == [("a", 0.0)]
    with pytest.raises(BadRequest, match="must lie between"):
        parse("(" * 10_000)


@pytest.mark.parametrize("prompt", ["(a:11)", "((a:9):9)", "(a:" + "9" * 500 + ")"])
def test_a_weight_beyond_ten_is_refused(prompt):
    with pytest.raises(BadRequest, match=r"A prompt weight is .* between −10.0 and 10.0"):
        parse(prompt)


def test_is_weighted_tells_plain_prompts_from_others():
    assert not is_weighted(r"a \(red\) mug, 10:30")
    assert is_weighted("a (red) mug")
    assert is_weighted("a BREAK b")


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(0)
    return sd1()


@pytest.fixture(scope="module")
def pipe_xl():
    """SDXL's text side: two encoders, tiny and random; no UNet or VAE is needed."""
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        vae=None,
        text_encoder=CLIPTextModel(clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(48, 40)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad="!"),
        unet=None,
        scheduler=None,
        force_zeros_for_empty_prompt=True,
    )


@pytest.mark.parametrize("prompt", ["a red mug", "(a red:1.0) mug", "", "🦆🚂"])
def test_plain_prompts_equal_diffusers_bit_for_bit(pipe, prompt):
    ours = encode(pipe, prompt, "blur", 1, "cpu")
    plain = prompt.replace("(", "").replace(":1.0)", "")
    theirs, negative = pipe.encode_prompt(plain, "cpu", 1, True, "blur")
    assert torch.equal(ours.prompt, theirs)
    assert torch.equal(ours.negative, negative)


def test_clip_skip_reads_an_earlier_layer_through_the_last_norm(pipe):
    ids = pipe.tokenizer("mug", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        layers = pipe.text_encoder(ids, output_hidden_states=True).hidden_states
        second_last = pipe.text_encoder.final_layer_norm(layers[-2])
    ours = encode(pipe, "mug", "mug", 2, "cpu")
    assert torch.equal(ours.prompt, second_last)
    assert torch.equal(ours.negative, second_last)


@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("negative", ["blur", None])
def test_plain_prompts_equal_diffusers_bit_for_bit_on_sdxl(pipe_xl, negative, clip_skip):
    ours = encode(pipe_xl, "a red mug", negative or "", clip_skip, "cpu")
    theirs = pipe_xl.encode_prompt(
        "a red mug",
        device="cpu",
        negative_prompt=negative,
        clip_skip=None if clip_skip == 1 else clip_skip - 1,
    )
    assert torch.equal(ours.prompt, theirs[0])
    assert torch.equal(ours.pooled, theirs[2])
    assert torch.equal(ours.negative_pooled, theirs[3])
    if clip_skip == 1 or negative is None:
        assert torch.equal(ours.negative, theirs[1])


def test_a_weight_scales_its_tokens_and_the_chunk_keeps_its_magnitude(pipe):
    plain = encode(pipe, "ab cd", "", 1, "cpu").prompt[0]
    weighed = encode(pipe, "ab (cd:1.5)", "", 1, "cpu").prompt[0]
    # The tiny tokenizer makes one token of each letter: start, a, b, c, d, end, …
    ratios = (weighed / plain).mean(dim=1)
    assert torch.allclose(ratios[3:5] / ratios[0], torch.tensor(1.5))
    assert torch.allclose(ratios[[1, 2, 5, 76]], ratios[0].expand(4))
    assert torch.isclose(weighed.abs().mean(), plain.abs().mean())


def test_long_prompts_are_read_in_chunks_and_the_negative_is_padded_to_as_many(pipe):
    long = "a" * 80  # 80 letters are 80 tokens: 75 and 5
    embeds = encode(pipe, long, "blur", 1, "cpu")
    assert embeds.prompt.shape == embeds.negative.shape == (1, 154, 32)
    assert torch.equal(embeds.negative[:, :77], encode(pipe, "", "blur", 1, "cpu").negative)
    assert torch.equal(embeds.negative[:, 77:], encode(pipe, "", "", 1, "cpu").prompt)


COMMA, ROOM = 0, 75


def lengths(tokens: list[int], words: dict[int, int] | None = None) -> list[int]:
    chunks = split_tokens([(id, 1.0) for id in tokens], ROOM, COMMA, words or {})
    assert [id for chunk in chunks for id in chunk.ids] == tokens  # none is lost
    return [len(chunk.ids) for chunk in chunks]


def commas_at(count: int, *places: int) -> list[int]:
    return [COMMA if n in places else n + 1 for n in range(count)]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [  # worked by hand after A1111's rule
        (commas_at(0), [0]),
        (commas_at(75, 60), [75]),  # fits: nothing is moved
        (commas_at(76), [75, 1]),  # no comma: divided where it is full
        (commas_at(76, 60), [61, 15]),  # after the comma: 14 tokens and the 76th
        (commas_at(76, 55), [56, 20]),  # 75 − 55 = 20: just near enough
        (commas_at(76, 54), [75, 1]),  # 21: too far
        (commas_at(76, 74), [75, 1]),  # the comma is the last: nothing stands behind it
        (commas_at(76, 75), [75, 1]),  # the comma itself has no room
        (commas_at(76, 60, 70), [71, 5]),  # the last of two
        (commas_at(150, 60), [61, 75, 14]),  # the second chunk has no comma
        (commas_at(151, 60, 131), [61, 71, 19]),  # 131 is the 71st of the second: 75 − 70 = 5
        (commas_at(151, 75), [75, 75, 1]),  # a comma that begins a chunk is not noted
    ],
)
def test_a_full_chunk_goes_back_to_its_last_comma(tokens, expected):
    assert lengths(tokens) == expected


def test_a_learned_word_is_not_divided():
    word = [1000, 1001, 1002]
    plain = [n + 1 for n in range(74)]
    assert lengths([*plain, *word, 7], {1000: 3}) == [74, 4]
    assert lengths([*plain, *word, 7]) == [75, 3]
    near = commas_at(75, 60)
    assert lengths([*near, *word], {1000: 3}) == [61, 17]


def test_the_word_behind_the_last_comma_is_read_whole(pipe):
    head = ", ".join(["a"] * 34)  # 34 letters and 33 commas: 67 tokens of the tiny tokenizer
    embeds = encode(pipe, f"{head}, abcdefghij", "", 1, "cpu").prompt
    assert torch.equal(embeds[:, 77:], encode(pipe, "abcdefghij", "", 1, "cpu").prompt)


def test_break_fills_up_the_chunk(pipe):
    embeds = encode(pipe, "mug BREAK snow", "", 1, "cpu").prompt
    assert torch.equal(embeds[:, :77], encode(pipe, "mug", "", 1, "cpu").prompt)
    assert torch.equal(embeds[:, 77:], encode(pipe, "snow", "", 1, "cpu").prompt)


def test_clip_skip_beyond_the_layers_is_refused_with_both_numbers(pipe, pipe_xl):
    with pytest.raises(BadRequest, match=r"Clip skip is 4; .* at most 3"):
        encode(pipe, "a", "", 4, "cpu")
    with pytest.raises(BadRequest, match=r"Clip skip is 3; .* at most 2"):
        encode(pipe_xl, "a", "", 3, "cpu")
