"""Learned words: embeddings that a request brings along, as diffusers has them."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save

from pipelines.core.errors import BadRequest
from pipelines.core.events import Picture
from pipelines.diffusion.lora.apply import apply_loras
from pipelines.diffusion.lora.tags import list_left_out, replace_words
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.prompts import encode
from tests.pipelines.diffusion.lora.conftest import ANN, BASE, LARGE_BASE
from tests.pipelines.diffusion.lora.painting import (
    Unchanged,
    difference,
    difference_of,
    paint,
    pictures,
)


def embedding(library, count=2, width=32, name="mymug", triggers=("<mug>",), **parts) -> LoraUse:
    generator = torch.Generator().manual_seed(3)
    shapes = parts or {"emb_params": width}
    vectors = {key: torch.randn(count, w, generator=generator) for key, w in shapes.items()}
    record = library.add(ANN, name, save(vectors), triggers=triggers)
    return LoraUse(name=name, id=record.id)


def test_a_learned_word_is_what_diffusers_textual_inversion_is(lora_cache, library, models):
    learned = embedding(library)
    theirs = StableDiffusionPipeline.from_pretrained(models / BASE)
    vectors = library.vectors(library.by_id(learned.id))["text_encoder"]
    theirs.load_textual_inversion({"<mug>": vectors}, token="<mug>")
    expected = encode(theirs, "a red <mug> here", "", 1, "cpu").prompt
    with (
        Unchanged(lora_cache),
        lora_cache.lease(BASE) as model,
        apply_loras(model, [learned], model.home),
    ):
        for word in ("<mug>", "mymug"):
            text = replace_words(f"a red {word} here", model.learned)
            ours = encode(model.pipe, text, "", 1, "cpu").prompt
            assert difference_of(ours, expected) < 1e-5
        assert replace_words("a red mug here", model.learned) == "a red mug here"
        alone = replace_words("a (mymug:1.2), mymug", model.learned)
        for called in ("a (embedding:mymug:1.2), <embed:MyMug>", "a (mymug:1.2), embedding: mymug"):
            assert replace_words(called, model.learned) == alone
            assert list_left_out(called, model.learned) == []


def test_a_learned_word_works_in_both_prompts_and_leaves_nothing(lora_cache, library):
    learned = embedding(library)
    with Unchanged(lora_cache):
        (plain,) = pictures(paint(lora_cache, prompt="a <mug>"))
        (wanted,) = pictures(paint(lora_cache, prompt="a <mug>", loras=[learned]))
        (unwanted,) = pictures(
            paint(lora_cache, prompt="a <mug>", negative_prompt="(mymug:1.2)", loras=[learned])
        )
        (idle,) = pictures(paint(lora_cache, prompt="a cup", loras=[learned]))
        (cup,) = pictures(paint(lora_cache, prompt="a cup"))
    assert difference(plain, wanted) > 3
    assert difference(wanted, unwanted) > 3
    assert difference(idle, cup) == 0


def test_its_weight_scales_its_vectors(lora_cache, library):
    learned = embedding(library)
    vectors = library.vectors(library.by_id(learned.id))["text_encoder"]
    half = learned.model_copy(update={"weight": 0.5})
    with lora_cache.lease(BASE) as model, apply_loras(model, [half], model.home):
        rows = model.pipe.text_encoder.get_input_embeddings().weight
        assert difference_of(rows[-2:], 0.5 * vectors) < 1e-6


def test_a_learned_word_of_sdxl_and_its_pooled_text(lora_cache, library):
    learned = embedding(library, clip_l=32, clip_g=48)
    settings = {"model": LARGE_BASE, "steps": 2, "prompt": "a <mug>"}
    with Unchanged(lora_cache, LARGE_BASE):
        (plain,) = pictures(paint(lora_cache, **settings))
        (taught,) = pictures(paint(lora_cache, loras=[learned], **settings))
        settings["prompt"] = "a cup"
        (idle,) = pictures(paint(lora_cache, loras=[learned], **settings))
        (cup,) = pictures(paint(lora_cache, **settings))
    assert difference(plain, taught) > 3
    assert difference(idle, cup) == 0


def test_a_learned_word_of_another_width_is_refused(lora_cache, library):
    learned = embedding(library, width=768)
    with (
        Unchanged(lora_cache),
        pytest.raises(
            BadRequest, match=r"learned word mymug is made for Stable Diffusion 1\.x, but"
        ),
    ):
        paint(lora_cache, loras=[learned])


def test_a_word_and_a_lora_together(lora_cache, library, use):
    learned = embedding(library)
    with Unchanged(lora_cache):
        events = paint(lora_cache, prompt="a <mug>", loras=[learned, use])
    picture = next(event for event in events if isinstance(event, Picture))
    assert picture.parameters.keys() >= {"Lora hashes", "TI hashes"}
    assert len(events[-1].data["loras"]) == 2
