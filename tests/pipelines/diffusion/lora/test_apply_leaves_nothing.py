"""A LoRA is gone after its request, to the last bit, however the request ends."""

from __future__ import annotations

import threading

import pytest
import torch
from PIL import Image

from pipelines.core.errors import BadRequest, Busy, OutOfMemory, Stopped, validate
from pipelines.core.events import Picture
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control import paint as control
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.lora.apply import Changes, apply_loras
from pipelines.grids import engine as grids
from pipelines.grids.requests import CompareSamplersRequest, GridRequest
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.conftest import ANN, BASE
from tests.pipelines.diffusion.lora.painting import (
    Unchanged,
    bits_of,
    difference,
    paint,
    pictures,
    request_of,
)


def test_the_next_request_paints_as_if_nothing_had_been(lora_cache, use):
    (before,) = pictures(paint(lora_cache))
    with Unchanged(lora_cache):
        paint(lora_cache, loras=[use])
    (after,) = pictures(paint(lora_cache))
    assert difference(before, after) == 0


@pytest.mark.parametrize("steps_first", [0, 1, 2])
def test_a_run_that_is_stopped_leaves_nothing(lora_cache, use, steps_first):
    with Unchanged(lora_cache):
        stop = threading.Event()
        events = text_to_image.run(request_of(loras=[use], steps=20), lora_cache, stop)
        for _ in range(steps_first):
            next(events)
        stop.set()
        with pytest.raises(Stopped):
            list(events)


def test_a_run_that_nobody_iterates_any_more_leaves_nothing(lora_cache, use):
    with Unchanged(lora_cache):
        events = text_to_image.run(request_of(loras=[use]), lora_cache, threading.Event())
        next(events)
        events.close()


def test_a_run_that_fails_in_the_middle_leaves_nothing(lora_cache, use, monkeypatch):
    def fail(*_):
        raise RuntimeError("in the middle")

    with Unchanged(lora_cache):
        monkeypatch.setattr(text_to_image, "decode", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            paint(lora_cache, loras=[use])
        monkeypatch.undo()


def test_out_of_memory_while_weights_change_leaves_nothing(lora_cache, use, monkeypatch):
    from pipelines.diffusion.lora import apply

    real, calls = apply._change, []

    def run_out_of_memory(*arguments):
        calls.append(1)
        real(*arguments)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with Unchanged(lora_cache):
        monkeypatch.setattr(apply, "_change", run_out_of_memory)
        with pytest.raises(OutOfMemory):
            paint(lora_cache, loras=[use])


def test_the_second_of_two_that_does_not_fit_leaves_nothing(lora_cache, library, use, large_pipe):
    large = library.add(ANN, "large", files.kohya(files.random_halves(large_pipe)))
    with Unchanged(lora_cache), pytest.raises(BadRequest):
        paint(lora_cache, loras=[use, {"name": "large", "id": large.id}])


def test_a_comparison_leaves_nothing(lora_cache, use):
    request = CompareSamplersRequest(
        base=request_of(loras=[use]), samplers=("Euler", "Heun"), steps=(2,)
    )
    with Unchanged(lora_cache):
        events = paint(lora_cache, grids, request=request)
    (alone,) = pictures(paint(lora_cache, loras=[use], steps=2))
    assert difference(pictures(events)[0], alone) == 0
    assert events[-1].data["loras"][0]["name"] == "clay"


def test_a_controlnet_sees_the_changed_model_and_leaves_nothing(lora_cache, use, home):
    sketch = Image.new("RGB", (64, 64))
    sketch.paste("white", (10, 10, 50, 14))
    units = [{"picture": keep_input(home, ANN, sketch), "model": "tiny-net"}]

    def control_request(**settings):
        base = {"prompt": "a mug", "model": BASE, "steps": 3, "seed": 7, "units": units}
        return validate(ControlRequest, base | settings)

    with Unchanged(lora_cache):
        (plain,) = pictures(paint(lora_cache, control, request=control_request()))
        (changed,) = pictures(paint(lora_cache, control, request=control_request(loras=[use])))
        (again,) = pictures(paint(lora_cache, control, request=control_request()))
        events = control.run(control_request(loras=[use]), lora_cache, threading.Event())
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


def test_the_accelerated_unet_steps_aside_while_a_lora_is_at_work(lora_cache, library, use, pipe):
    text = files.random_halves(pipe, parts=("text_encoder",))
    text_only = library.add(ANN, "text only", files.kohya(text))
    with lora_cache.lease(BASE) as model:
        fast = model._fast_unet = FastUNet(model.pipe.unet)
        paint(lora_cache, loras=[use])
        assert fast.calls == 0
        assert model.unet is fast
        paint(lora_cache, loras=[{"name": "text only", "id": text_only.id}])
        assert fast.calls == 3
        paint(lora_cache, loras=[use.model_copy(update={"weight": 0.0})])
        assert fast.calls == 6


def test_two_requests_at_once_never_see_one_another_s_weights(lora_cache, use):
    paint(lora_cache, steps=1)  # the model is here now, so the first event is a step
    events = text_to_image.run(request_of(loras=[use]), lora_cache, threading.Event())
    next(events)
    with pytest.raises(Busy, match="is painting for another request"):
        paint(lora_cache)
    with pytest.raises(Busy):
        paint(lora_cache, loras=[use])
    events.close()
    plain = text_to_image.run(request_of(), lora_cache, threading.Event())
    next(plain)
    with pytest.raises(Busy):
        paint(lora_cache, loras=[use])
    assert len(pictures(paint(lora_cache))) == 1
    plain.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_bit_by_bit(lora_cache, use, dtype):
    with lora_cache.lease(BASE) as model:
        model.pipe.unet.to(dtype)
        before = bits_of(model)
        with apply_loras(model, [use], model.home):
            now = bits_of(model)
            assert any(not torch.equal(now[name], before[name]) for name in before)
            assert all(now[name].dtype == before[name].dtype for name in before)
        after = bits_of(model)
        assert all(torch.equal(after[name], before[name]) for name in before)
        model.pipe.unet.to(torch.float32)


def test_a_grid_s_cells_with_the_same_loras_apply_them_once_and_are_what_they_are_alone(
    lora_cache, use, monkeypatch
):
    changed = []
    real = Changes.apply
    monkeypatch.setattr(Changes, "apply", lambda self: changed.append(1) or real(self))

    def cells(x, **more):
        base = {**request_of(loras=[use]).model_dump(), **more}
        request = GridRequest(base=base, x={"field": x[0], "values": x[1]})
        found = list(grids.run(request, lora_cache, threading.Event()))
        return [each for each in found if isinstance(each, Picture)]

    with Unchanged(lora_cache):
        made = cells(("seed", "1-3"))
        assert len(made) == 3
        assert len(changed) == 1
        alone = [pictures(paint(lora_cache, request=each.request))[0] for each in made]
        assert [difference(a.image, b) for a, b in zip(made, alone, strict=True)] == [0, 0, 0]
        assert all("Lora hashes" in each.parameters for each in made)
        changed.clear()
        weights = cells(("loras[0].weight", "0.5, 1, 0"))
        assert len(changed) == 2  # weight 0 is as if it were not there
        (plain,) = pictures(paint(lora_cache, seed=weights[2].request.seed))
        assert difference(weights[2].image, plain) == 0
    with Unchanged(lora_cache):  # when nobody iterates any more
        base = request_of(loras=[use]).model_dump()
        request = GridRequest(base=base, x={"field": "seed", "values": "1-3"})
        events = grids.run(request, lora_cache, threading.Event())
        next(each for each in events if isinstance(each, Picture))
        events.close()
