"""A LoRA works for one request and is gone after it, to the last bit, however the request ends."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save

from pipelines.diffusion import compare, text_to_image
from pipelines.diffusion.control import paint as control
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.loading import DiffusionModel
from pipelines.diffusion.lora.apply import applied
from pipelines.diffusion.lora.requests import LoraUse, worded
from pipelines.diffusion.prompts import encode
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import samplers_in
from pipelines.errors import BadRequest, Busy, NotFound, OutOfMemory, Stopped, validated
from pipelines.events import Picture, Result
from pipelines.inputs import keep_input
from pipelines.messages import Message
from tests.pipelines.lora import files
from tests.pipelines.lora.conftest import BASE, LARGE_BASE

ANN = "ann"


@pytest.fixture
def use(shelf, halves):
    """A LoRA of rank 4 with alpha 2, on Ann's shelf."""
    about = shelf.add(ANN, "clay", files.kohya(halves, alpha=2.0))
    return LoraUse(name="clay", weight=0.8, id=about.id)


def asked(**settings) -> TextToImageRequest:
    base = {"prompt": "a red mug", "model": BASE, "steps": 3, "seed": 7, "sampler": "Euler"}
    return validated(TextToImageRequest, base | settings)


def painted(cache, engine=text_to_image, **settings) -> list:
    request = settings.pop("request", None) or asked(**settings)
    return list(engine.run(request, cache, threading.Event()))


def pictures(events) -> list[Image.Image]:
    return [event.image for event in events if isinstance(event, Picture)]


def difference(a, b) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def psnr(a, b) -> float:
    error = ((np.asarray(a, float) - np.asarray(b, float)) ** 2).mean()
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def bits_of(model: DiffusionModel) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in model.pipe.components.items()
        if isinstance(module, torch.nn.Module)
        for name, tensor in module.state_dict().items()
    }


class Unchanged:
    """``with Unchanged(cache):`` checks that a model is afterwards what it was before."""

    def __init__(self, cache, name=BASE) -> None:
        self.cache, self.name = cache, name

    def __enter__(self):
        with self.cache.lease(self.name) as model:
            self.bits = bits_of(model)
            self.tokenizers = [getattr(model.pipe, name, None)
                               for name in ("tokenizer", "tokenizer_2")]  # fmt: skip
            self.parameters = {id(p) for p in model.pipe.text_encoder.parameters()}
        return self

    def __exit__(self, *error) -> None:
        with self.cache.lease(self.name) as model:
            now = bits_of(model)
            assert now.keys() == self.bits.keys()
            for name, tensor in self.bits.items():
                assert torch.equal(now[name], tensor), name
            assert model.learned == {}
            tokenizers = [getattr(model.pipe, name, None) for name in ("tokenizer", "tokenizer_2")]
            assert all(a is b for a, b in zip(tokenizers, self.tokenizers, strict=True))
            assert {id(p) for p in model.pipe.text_encoder.parameters()} == self.parameters
            with model.held(alone=True):  # nobody holds it any more
                pass


# --- what it does ---------------------------------------------------------------------------------


def test_merged_weights_predict_what_unmerged_ones_do(lora_cache, use, halves, models, pipe):
    """Against diffusers' and peft's own adapters, which are added to the outputs of each layer."""
    theirs = StableDiffusionPipeline.from_pretrained(models / BASE)
    theirs.load_lora_weights(dict(files_of_baked(halves, 0.5)), adapter_name="clay")
    theirs.set_adapters(["clay"], [0.8])
    sample = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with lora_cache.lease(BASE) as model, applied(model, [use], model.home) as done:
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


def difference_of(a, b) -> float:
    return float((a - b).abs().max().detach())


def test_a_picture_is_the_one_that_diffusers_adapters_give(lora_cache, shelf, strong, models, home):
    about = shelf.add(ANN, "strong", files.kohya(strong, alpha=2.0))
    use = LoraUse(name="strong", weight=0.8, id=about.id)
    with Unchanged(lora_cache):
        (ours,) = pictures(painted(lora_cache, loras=[use]))
        (plain,) = pictures(painted(lora_cache))
    pipe = StableDiffusionPipeline.from_pretrained(models / BASE)
    pipe.load_lora_weights(dict(files_of_baked(strong, 0.5)), adapter_name="clay")
    pipe.set_adapters(["clay"], [0.8])
    with lora_cache.lease(BASE) as model:
        theirs = DiffusionModel(model.entry, pipe, "cpu", home=home)
    settings = resolve(asked(), theirs.entry, samplers_in(home))
    (other,) = pictures(text_to_image.paint(theirs, settings, threading.Event()))
    assert psnr(ours, other) >= 40
    assert psnr(ours, plain) < 30


@pytest.mark.parametrize("weight", [0.0, 0])
def test_weight_0_paints_the_same_picture_to_the_bit(lora_cache, use, weight):
    (plain,) = pictures(painted(lora_cache))
    (same,) = pictures(painted(lora_cache, loras=[use.model_copy(update={"weight": weight})]))
    assert difference(plain, same) == 0


def test_a_lora_as_training_begins_it_changes_nothing(lora_cache, shelf, halves):
    """A random, B zero (METHODS.md): exactly the base's picture."""
    zero = {key: (down, torch.zeros_like(up)) for key, (down, up) in halves.items()}
    about = shelf.add(ANN, "fresh", files.diffusers_style(zero))
    (plain,) = pictures(painted(lora_cache))
    (same,) = pictures(painted(lora_cache, loras=[{"name": "fresh", "id": about.id}]))
    assert difference(plain, same) == 0


def test_a_tag_does_what_the_list_does(lora_cache, use):
    listed = pictures(painted(lora_cache, loras=[use]))
    zero = use.model_copy(update={"weight": 0.1})
    tagged = pictures(painted(lora_cache, prompt="a red mug<lora:clay:0.8>", loras=[zero]))
    assert difference(listed[0], tagged[0]) == 0


def test_several_add_up_and_their_order_does_not_matter(lora_cache, shelf, use, pipe):
    other = shelf.add(ANN, "wood", files.kohya(files.random_halves(pipe, rank=2, seed=5)))
    second = LoraUse(name="wood", weight=-0.5, id=other.id)
    with Unchanged(lora_cache):
        (both,) = pictures(painted(lora_cache, loras=[use, second]))
        (turned,) = pictures(painted(lora_cache, loras=[second, use]))
        (one,) = pictures(painted(lora_cache, loras=[use]))
    assert difference(both, turned) <= 1
    assert difference(both, one) > 3


def test_the_run_says_how_many_modules_matched(lora_cache, use, halves):
    *_, result = painted(lora_cache, loras=[use])
    assert isinstance(result, Result)
    assert result.data["loras"] == [
        {"name": "clay", "weight": 0.8, "matched": len(halves), "keys": len(halves)}
    ]
    (note,) = map(Message.from_json, result.data["notes"])
    count = len(halves)
    assert f"{count} of {count} modules of the LoRA clay fit" in str(note)
    assert "left out" not in str(note)


def test_modules_that_the_model_lacks_are_left_out_and_said(lora_cache, shelf, halves):
    down, up = next(iter(halves.values()))
    ghost = {("unet", "down_blocks.7.resnets.0.conv1"): (down.clone(), up.clone())}
    about = shelf.add(ANN, "more", files.kohya(halves | ghost))
    *_, result = painted(lora_cache, loras=[{"name": "more", "id": about.id}])
    (note,) = result.data["notes"]
    assert note["values"]["matched"] == len(halves) == note["values"]["keys"] - 1


def test_pictures_carry_the_hash_as_a1111_writes_it(lora_cache, shelf, use):
    events = painted(lora_cache, loras=[use])
    (picture,) = [event for event in events if isinstance(event, Picture)]
    assert picture.parameters["Lora hashes"] == f"clay: {shelf.by_id(use.id).sha256[:12]}"
    assert [each.name for each in picture.request.loras] == ["clay"]


def test_linear_halves_fit_1x1_convolutions(lora_cache, shelf, pipe):
    """``proj_in`` is a convolution in SD 1.x; some trainers write its halves as matrices."""
    halves = files.random_halves(pipe, parts=("unet",), targets=("proj_in",))
    flat = {key: (down.flatten(1), up.flatten(1)) for key, (down, up) in halves.items()}
    ids = [shelf.add(ANN, "p", files.kohya(each)).id for each in (halves, flat)]
    made = [pictures(painted(lora_cache, loras=[{"name": "p", "id": id}]))[0] for id in ids]
    assert difference(*made) <= 1


# --- it never leaks -------------------------------------------------------------------------------


def test_the_next_request_paints_as_if_nothing_had_been(lora_cache, use):
    (before,) = pictures(painted(lora_cache))
    with Unchanged(lora_cache):
        painted(lora_cache, loras=[use])
    (after,) = pictures(painted(lora_cache))
    assert difference(before, after) == 0


@pytest.mark.parametrize("steps_first", [0, 1, 2])
def test_a_run_that_is_stopped_leaves_nothing(lora_cache, use, steps_first):
    with Unchanged(lora_cache):
        stop = threading.Event()
        events = text_to_image.run(asked(loras=[use], steps=20), lora_cache, stop)
        for _ in range(steps_first):
            next(events)
        stop.set()
        with pytest.raises(Stopped):
            list(events)


def test_a_run_that_nobody_iterates_any_more_leaves_nothing(lora_cache, use):
    with Unchanged(lora_cache):
        events = text_to_image.run(asked(loras=[use]), lora_cache, threading.Event())
        next(events)
        events.close()


def test_a_run_that_fails_in_the_middle_leaves_nothing(lora_cache, use, monkeypatch):
    def broken(*_):
        raise RuntimeError("in the middle")

    with Unchanged(lora_cache):
        monkeypatch.setattr(text_to_image, "decode", broken)
        with pytest.raises(RuntimeError, match="in the middle"):
            painted(lora_cache, loras=[use])
        monkeypatch.undo()


def test_out_of_memory_while_weights_change_leaves_nothing(lora_cache, use, monkeypatch):
    from pipelines.diffusion.lora import apply

    real, calls = apply._change, []

    def exhausted(*arguments):
        calls.append(1)
        real(*arguments)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with Unchanged(lora_cache):
        monkeypatch.setattr(apply, "_change", exhausted)
        with pytest.raises(OutOfMemory):
            painted(lora_cache, loras=[use])


def test_the_second_of_two_that_does_not_fit_leaves_nothing(lora_cache, shelf, use, large_pipe):
    large = shelf.add(ANN, "large", files.kohya(files.random_halves(large_pipe)))
    with Unchanged(lora_cache), pytest.raises(BadRequest):
        painted(lora_cache, loras=[use, {"name": "large", "id": large.id}])


def test_a_comparison_leaves_nothing(lora_cache, use):
    request = CompareSamplersRequest(
        base=asked(loras=[use]), samplers=("Euler", "Heun"), steps=(2,)
    )
    with Unchanged(lora_cache):
        events = painted(lora_cache, compare, request=request)
    (alone,) = pictures(painted(lora_cache, loras=[use], steps=2))
    assert difference(pictures(events)[0], alone) == 0
    assert events[-1].data["loras"][0]["name"] == "clay"


def test_a_controlnet_sees_the_changed_model_and_leaves_nothing(lora_cache, use, home):
    sketch = Image.new("RGB", (64, 64))
    sketch.paste("white", (10, 10, 50, 14))
    units = [{"picture": keep_input(home, ANN, sketch), "model": "tiny-net"}]

    def steered(**settings):
        base = {"prompt": "a mug", "model": BASE, "steps": 3, "seed": 7, "units": units}
        return validated(ControlRequest, base | settings)

    with Unchanged(lora_cache):
        (plain,) = pictures(painted(lora_cache, control, request=steered()))
        (changed,) = pictures(painted(lora_cache, control, request=steered(loras=[use])))
        (again,) = pictures(painted(lora_cache, control, request=steered()))
        events = control.run(steered(loras=[use]), lora_cache, threading.Event())
        for event in events:
            if getattr(event, "preview", None) is not None:
                break
        events.close()
    assert difference(plain, changed) > 3
    assert difference(plain, again) == 0


class FastUNet:
    """Stands in for the stand-in: made of the unchanged weights, so it must not be called."""

    def __init__(self, unet) -> None:
        self.unet, self.config, self.dtype = unet, unet.config, unet.dtype
        self.nbytes = self.calls = 0

    def __call__(self, *arguments, **more):
        self.calls += 1
        return self.unet(*arguments, **more)


def test_the_accelerated_unet_steps_aside_while_a_lora_is_at_work(lora_cache, shelf, use, pipe):
    text = files.random_halves(pipe, parts=("text_encoder",))
    text_only = shelf.add(ANN, "text only", files.kohya(text))
    with lora_cache.lease(BASE) as model:
        fast = model._fast_unet = FastUNet(model.pipe.unet)
        painted(lora_cache, loras=[use])
        assert fast.calls == 0
        assert model.unet is fast
        painted(lora_cache, loras=[{"name": "text only", "id": text_only.id}])
        assert fast.calls == 3
        painted(lora_cache, loras=[use.model_copy(update={"weight": 0.0})])
        assert fast.calls == 6


def test_two_requests_at_once_never_see_one_another_s_weights(lora_cache, use):
    painted(lora_cache, steps=1)  # the model is here now, so the first event is a step
    events = text_to_image.run(asked(loras=[use]), lora_cache, threading.Event())
    next(events)
    with pytest.raises(Busy, match="is painting for another request"):
        painted(lora_cache)
    with pytest.raises(Busy):
        painted(lora_cache, loras=[use])
    events.close()
    plain = text_to_image.run(asked(), lora_cache, threading.Event())
    next(plain)
    with pytest.raises(Busy):
        painted(lora_cache, loras=[use])
    assert len(pictures(painted(lora_cache))) == 1
    plain.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_bit_by_bit(lora_cache, use, dtype):
    with lora_cache.lease(BASE) as model:
        model.pipe.unet.to(dtype)
        before = bits_of(model)
        with applied(model, [use], model.home):
            now = bits_of(model)
            assert any(not torch.equal(now[name], before[name]) for name in before)
            assert all(now[name].dtype == before[name].dtype for name in before)
        after = bits_of(model)
        assert all(torch.equal(after[name], before[name]) for name in before)
        model.pipe.unet.to(torch.float32)


# --- what does not fit ----------------------------------------------------------------------------


def test_another_family_is_refused_by_the_names_of_both(lora_cache, shelf, large_pipe):
    about = shelf.add(ANN, "large", files.kohya(files.random_halves(large_pipe)))
    with (
        Unchanged(lora_cache),
        pytest.raises(
            BadRequest,
            match="LoRA large is made for U-Net 80, but tiny-sd1 is U-Net 32: none of its",
        ),
    ):
        painted(lora_cache, loras=[{"name": "large", "id": about.id}])


def test_real_families_are_called_by_their_names(lora_cache, shelf):
    key = ("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k")
    about = shelf.add(ANN, "xl", files.kohya({key: (torch.ones(2, 2048), torch.ones(1280, 2))}))
    with pytest.raises(BadRequest, match="is made for Stable Diffusion XL, but tiny-sd1"):
        painted(lora_cache, loras=[{"name": "xl", "id": about.id}])


def test_a_lora_that_does_not_say_its_family_and_matches_nothing_is_refused(lora_cache, shelf):
    key = ("unet", "down_blocks.9.resnets.0.conv1")
    about = shelf.add(ANN, "odd", files.kohya({key: (torch.ones(2, 5), torch.ones(5, 2))}))
    with pytest.raises(BadRequest, match=r"made for \?, but tiny-sd1 .* none of its 1 modules"):
        painted(lora_cache, loras=[{"name": "odd", "id": about.id}])


def test_sdxl_with_both_text_encoders(lora_cache, shelf, large_pipe):
    halves = files.random_halves(large_pipe)
    about = shelf.add(ANN, "large", files.kohya(halves))
    settings = {"model": LARGE_BASE, "steps": 2}
    with Unchanged(lora_cache, LARGE_BASE):
        (plain,) = pictures(painted(lora_cache, **settings))
        events = painted(lora_cache, loras=[{"name": "large", "id": about.id}], **settings)
    assert events[-1].data["loras"][0]["matched"] == len(halves)
    assert difference(plain, pictures(events)[0]) > 3


def test_one_that_is_gone_or_was_never_there(lora_cache, shelf, use):
    with pytest.raises(NotFound, match="no LoRA called clay"):  # without an id: everybody's only
        painted(lora_cache, prompt="a mug <lora:clay:1>")
    shelf.delete(ANN, use.id)
    with pytest.raises(NotFound, match="no longer on the shelf"):
        painted(lora_cache, loras=[use])


def test_a_file_that_was_damaged_meanwhile(lora_cache, shelf, use):
    path = shelf.path(shelf.by_id(use.id))
    path.write_bytes(path.read_bytes()[:-10])
    with Unchanged(lora_cache), pytest.raises(BadRequest, match="clay is cut short"):
        painted(lora_cache, loras=[use])


def test_a_file_in_the_folder_is_everybody_s(lora_cache, home, halves):
    (home / "loras").mkdir()
    (home / "loras" / "shared one.safetensors").write_bytes(files.kohya(halves))
    *_, result = painted(lora_cache, prompt="a mug <lora:shared one:0.5>")
    assert result.data["loras"][0]["matched"] == len(halves)


# --- learned words --------------------------------------------------------------------------------


def embedding(shelf, count=2, width=32, name="mymug", triggers=("<mug>",), **parts) -> LoraUse:
    generator = torch.Generator().manual_seed(3)
    shapes = parts or {"emb_params": width}
    vectors = {key: torch.randn(count, w, generator=generator) for key, w in shapes.items()}
    about = shelf.add(ANN, name, save(vectors), triggers=triggers)
    return LoraUse(name=name, id=about.id)


def test_a_learned_word_is_what_diffusers_textual_inversion_is(lora_cache, shelf, models):
    learned = embedding(shelf)
    theirs = StableDiffusionPipeline.from_pretrained(models / BASE)
    vectors = shelf.vectors(shelf.by_id(learned.id))["text_encoder"]
    theirs.load_textual_inversion({"<mug>": vectors}, token="<mug>")
    expected = encode(theirs, "a red <mug> here", "", 1, "cpu").prompt
    with (
        Unchanged(lora_cache),
        lora_cache.lease(BASE) as model,
        applied(model, [learned], model.home),
    ):
        for word in ("<mug>", "mymug"):
            text = worded(f"a red {word} here", model.learned)
            ours = encode(model.pipe, text, "", 1, "cpu").prompt
            assert difference_of(ours, expected) < 1e-5
        assert worded("a red mug here", model.learned) == "a red mug here"


def test_a_learned_word_works_in_both_prompts_and_leaves_nothing(lora_cache, shelf):
    learned = embedding(shelf)
    with Unchanged(lora_cache):
        (plain,) = pictures(painted(lora_cache, prompt="a <mug>"))
        (wanted,) = pictures(painted(lora_cache, prompt="a <mug>", loras=[learned]))
        (unwanted,) = pictures(
            painted(lora_cache, prompt="a <mug>", negative_prompt="(mymug:1.2)", loras=[learned])
        )
        (idle,) = pictures(painted(lora_cache, prompt="a cup", loras=[learned]))
        (cup,) = pictures(painted(lora_cache, prompt="a cup"))
    assert difference(plain, wanted) > 3
    assert difference(wanted, unwanted) > 3
    assert difference(idle, cup) == 0


def test_its_weight_scales_its_vectors(lora_cache, shelf):
    learned = embedding(shelf)
    vectors = shelf.vectors(shelf.by_id(learned.id))["text_encoder"]
    half = learned.model_copy(update={"weight": 0.5})
    with lora_cache.lease(BASE) as model, applied(model, [half], model.home):
        rows = model.pipe.text_encoder.get_input_embeddings().weight
        assert difference_of(rows[-2:], 0.5 * vectors) < 1e-6


def test_a_learned_word_of_sdxl_and_its_pooled_text(lora_cache, shelf):
    learned = embedding(shelf, clip_l=32, clip_g=48)
    settings = {"model": LARGE_BASE, "steps": 2, "prompt": "a <mug>"}
    with Unchanged(lora_cache, LARGE_BASE):
        (plain,) = pictures(painted(lora_cache, **settings))
        (taught,) = pictures(painted(lora_cache, loras=[learned], **settings))
        settings["prompt"] = "a cup"
        (idle,) = pictures(painted(lora_cache, loras=[learned], **settings))
        (cup,) = pictures(painted(lora_cache, **settings))
    assert difference(plain, taught) > 3
    assert difference(idle, cup) == 0


def test_a_learned_word_of_another_width_is_refused(lora_cache, shelf):
    learned = embedding(shelf, width=768)
    with (
        Unchanged(lora_cache),
        pytest.raises(
            BadRequest, match=r"learned word mymug is made for Stable Diffusion 1\.x, but"
        ),
    ):
        painted(lora_cache, loras=[learned])


def test_a_word_and_a_lora_together(lora_cache, shelf, use):
    learned = embedding(shelf)
    with Unchanged(lora_cache):
        events = painted(lora_cache, prompt="a <mug>", loras=[learned, use])
    picture = next(event for event in events if isinstance(event, Picture))
    assert picture.parameters.keys() >= {"Lora hashes", "TI hashes"}
    assert len(events[-1].data["loras"]) == 2
