"""What a LoRA does for one request, and which ones do not fit."""

from __future__ import annotations

import threading

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load, save

from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.events import Picture, Result
from pipelines.core.messages import Message
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.apply import apply_loras
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.prompts import encode
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import samplers_in
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.conftest import ANN, BASE, LARGE_BASE
from tests.pipelines.diffusion.lora.painting import (
    Unchanged,
    difference,
    difference_of,
    paint,
    pictures,
    psnr,
    request_of,
)


def test_merged_weights_predict_what_unmerged_ones_do(lora_cache, use, halves, models, pipe):
    """Against diffusers' and peft's own adapters, which are added to the outputs of each layer."""
    theirs = StableDiffusionPipeline.from_pretrained(models / BASE)
    theirs.load_lora_weights(dict(files_of_baked(halves, 0.5)), adapter_name="clay")
    theirs.set_adapters(["clay"], [0.8])
    sample = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with lora_cache.lease(BASE) as model, apply_loras(model, [use], model.home) as done:
        ours_text = encode(model.pipe, "a red mug", "", 1, "cpu").prompt
        theirs_text = encode(theirs, "a red mug", "", 1, "cpu").prompt
        assert difference_of(ours_text, encode(pipe, "a red mug", "", 1, "cpu").prompt) > 1e-3
        assert difference_of(ours_text, theirs_text) < 1e-4
        arguments = (sample, torch.tensor(500), ours_text.expand(2, -1, -1))
        with torch.no_grad():
            ours = model.pipe.unet(*arguments).sample
            plain = pipe.unet(*arguments).sample
            other = theirs.unet(*arguments).sample
    assert difference_of(ours, plain) > 1e-2
    assert difference_of(ours, other) < 1e-4
    (one,) = done.uses
    assert one.matched == one.keys == len(halves)


def files_of_baked(halves, scale):
    for (part, name), (down, up) in halves.items():
        yield f"{part}.{name}.lora_A.weight", down
        yield f"{part}.{name}.lora_B.weight", up * scale


def test_a_picture_is_the_one_that_diffusers_adapters_give(
    lora_cache, library, strong, models, home
):
    record = library.add(ANN, "strong", files.kohya(strong, alpha=2.0))
    use = LoraUse(name="strong", weight=0.8, id=record.id)
    with Unchanged(lora_cache):
        (ours,) = pictures(paint(lora_cache, loras=[use]))
        (plain,) = pictures(paint(lora_cache))
    pipe = StableDiffusionPipeline.from_pretrained(models / BASE)
    pipe.load_lora_weights(dict(files_of_baked(strong, 0.5)), adapter_name="clay")
    pipe.set_adapters(["clay"], [0.8])
    with lora_cache.lease(BASE) as model:
        theirs = DiffusionModel(model.entry, pipe, "cpu", home=home)
    settings = resolve(request_of(), theirs.entry, samplers_in(home))
    (other,) = pictures(text_to_image.paint(theirs, settings, threading.Event()))
    assert psnr(ours, other) >= 40
    assert psnr(ours, plain) < 30


@pytest.mark.parametrize("weight", [0.0, 0])
def test_weight_0_paints_the_same_picture_to_the_bit(lora_cache, use, weight):
    (plain,) = pictures(paint(lora_cache))
    (same,) = pictures(paint(lora_cache, loras=[use.model_copy(update={"weight": weight})]))
    assert difference(plain, same) == 0


def test_a_lora_as_training_begins_it_changes_nothing(lora_cache, library, halves):
    """A random, B zero (METHODS.md): exactly the base's picture."""
    zero = {key: (down, torch.zeros_like(up)) for key, (down, up) in halves.items()}
    record = library.add(ANN, "fresh", files.diffusers_style(zero))
    (plain,) = pictures(paint(lora_cache))
    (same,) = pictures(paint(lora_cache, loras=[{"name": "fresh", "id": record.id}]))
    assert difference(plain, same) == 0


def test_a_tag_does_what_the_list_does(lora_cache, use):
    listed = pictures(paint(lora_cache, loras=[use]))
    zero = use.model_copy(update={"weight": 0.1})
    tagged = pictures(paint(lora_cache, prompt="a red mug<lora:clay:0.8>", loras=[zero]))
    assert difference(listed[0], tagged[0]) == 0


def test_text_encoder_and_unet_are_weighed_apart(lora_cache, library, use, halves):
    unet = {key: pair for key, pair in halves.items() if key[0] == "unet"}
    record = library.add(ANN, "unet only", files.kohya(unet, alpha=2.0))
    alone = paint(lora_cache, loras=[{"name": "unet only", "weight": 0.8, "id": record.id}])
    both = paint(lora_cache, prompt="a red mug<lora:clay:0:0.8>", loras=[use])
    assert difference(pictures(alone)[0], pictures(both)[0]) == 0
    *_, result = both
    assert result.data["loras"][0]["text_weight"] == 0
    other = paint(lora_cache, prompt="a red mug<lora:clay:0.8:0>", loras=[use])
    assert difference(pictures(other)[0], pictures(both)[0]) > 0


def test_several_add_up_and_their_order_does_not_matter(lora_cache, library, use, pipe):
    other = library.add(ANN, "wood", files.kohya(files.random_halves(pipe, rank=2, seed=5)))
    second = LoraUse(name="wood", weight=-0.5, id=other.id)
    with Unchanged(lora_cache):
        (both,) = pictures(paint(lora_cache, loras=[use, second]))
        (turned,) = pictures(paint(lora_cache, loras=[second, use]))
        (one,) = pictures(paint(lora_cache, loras=[use]))
    assert difference(both, turned) <= 1
    assert difference(both, one) > 3


def test_the_run_says_how_many_modules_matched(lora_cache, use, halves):
    *_, result = paint(lora_cache, loras=[use])
    assert isinstance(result, Result)
    assert result.data["loras"] == [
        {"name": "clay", "weight": 0.8, "matched": len(halves), "keys": len(halves)}
    ]
    (note,) = map(Message.from_json, result.data["notes"])
    count = len(halves)
    assert f"{count} of {count} modules of the LoRA clay fit" in str(note)
    assert "left out" not in str(note)


def test_modules_that_the_model_lacks_are_left_out_and_said(lora_cache, library, halves):
    down, up = next(iter(halves.values()))
    ghost = {("unet", "down_blocks.7.resnets.0.conv1"): (down.clone(), up.clone())}
    record = library.add(ANN, "more", files.kohya(halves | ghost))
    *_, result = paint(lora_cache, loras=[{"name": "more", "id": record.id}])
    (note,) = result.data["notes"]
    assert note["values"]["matched"] == len(halves) == note["values"]["keys"] - 1


def test_tensors_without_a_meaning_are_said_with_the_picture(lora_cache, library, halves):
    data = save(load(files.kohya(halves)) | {"bundle_emb.word.clip_l": torch.ones(2, 32)})
    record = library.add(ANN, "more", data)
    *_, result = paint(lora_cache, loras=[{"name": "more", "id": record.id}])
    said = [str(Message.from_json(note)) for note in result.data["notes"]]
    assert said[1] == "1 tensors of the LoRA more have no meaning here and are left out."


def test_pictures_carry_the_hash_as_a1111_writes_it(lora_cache, library, use):
    events = paint(lora_cache, loras=[use])
    (picture,) = [event for event in events if isinstance(event, Picture)]
    assert picture.parameters["Lora hashes"] == f"clay: {library.by_id(use.id).sha256[:12]}"
    assert [each.name for each in picture.request.loras] == ["clay"]


def test_linear_halves_fit_1x1_convolutions(lora_cache, library, pipe):
    """``proj_in`` is a convolution in SD 1.x; some trainers write its halves as matrices."""
    halves = files.random_halves(pipe, parts=("unet",), targets=("proj_in",))
    flat = {key: (down.flatten(1), up.flatten(1)) for key, (down, up) in halves.items()}
    ids = [library.add(ANN, "p", files.kohya(each)).id for each in (halves, flat)]
    made = [pictures(paint(lora_cache, loras=[{"name": "p", "id": id}]))[0] for id in ids]
    assert difference(*made) <= 1


def test_another_family_is_refused_by_the_names_of_both(lora_cache, library, large_pipe):
    record = library.add(ANN, "large", files.kohya(files.random_halves(large_pipe)))
    with (
        Unchanged(lora_cache),
        pytest.raises(
            BadRequest,
            match="LoRA large is made for U-Net 80, but tiny-sd1 is U-Net 32: none of its",
        ),
    ):
        paint(lora_cache, loras=[{"name": "large", "id": record.id}])


def test_real_families_are_called_by_their_names(lora_cache, library):
    key = ("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k")
    record = library.add(ANN, "xl", files.kohya({key: (torch.ones(2, 2048), torch.ones(1280, 2))}))
    with pytest.raises(BadRequest, match="is made for Stable Diffusion XL, but tiny-sd1"):
        paint(lora_cache, loras=[{"name": "xl", "id": record.id}])


def test_a_lora_that_does_not_say_its_family_and_matches_nothing_is_refused(lora_cache, library):
    key = ("unet", "down_blocks.9.resnets.0.conv1")
    record = library.add(ANN, "odd", files.kohya({key: (torch.ones(2, 5), torch.ones(5, 2))}))
    with pytest.raises(
        BadRequest, match="does not fit tiny-sd1: of its 1 modules the model has none"
    ):
        paint(lora_cache, loras=[{"name": "odd", "id": record.id}])


def test_sdxl_with_both_text_encoders(lora_cache, library, large_pipe):
    halves = files.random_halves(large_pipe)
    record = library.add(ANN, "large", files.kohya(halves))
    settings = {"model": LARGE_BASE, "steps": 2}
    with Unchanged(lora_cache, LARGE_BASE):
        (plain,) = pictures(paint(lora_cache, **settings))
        events = paint(lora_cache, loras=[{"name": "large", "id": record.id}], **settings)
    assert events[-1].data["loras"][0]["matched"] == len(halves)
    assert difference(plain, pictures(events)[0]) > 3


def test_one_that_is_gone_or_was_never_there(lora_cache, library, use):
    with pytest.raises(NotFound, match="no LoRA called clay"):  # without an id: everybody's only
        paint(lora_cache, prompt="a mug <lora:clay:1>")
    library.delete(ANN, use.id)
    with pytest.raises(NotFound, match="no longer in the library"):
        paint(lora_cache, loras=[use])


def test_a_file_that_was_damaged_meanwhile(lora_cache, library, use):
    path = library.path(library.by_id(use.id))
    path.write_bytes(path.read_bytes()[:-10])
    with Unchanged(lora_cache), pytest.raises(BadRequest, match="clay is cut short"):
        paint(lora_cache, loras=[use])


def test_a_file_in_the_folder_is_everybody_s(lora_cache, home, halves):
    (home / "loras").mkdir()
    (home / "loras" / "shared one.safetensors").write_bytes(files.kohya(halves))
    *_, result = paint(lora_cache, prompt="a mug <lora:shared one:0.5>")
    assert result.data["loras"][0]["matched"] == len(halves)
