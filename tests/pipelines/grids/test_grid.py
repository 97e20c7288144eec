"""A grid's pictures, those that fail, and the sheet of them all."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, UserError, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import load
from pipelines.grids import engine
from pipelines.grids.requests import GridRequest
from pipelines.toybox.judge import Seen, Verdict
from pipelines.toybox.verdicts import Asked, count_right, read_prompt

BASE = {"prompt": "a red mug", "model": "tiny-sd1", "steps": 2, "seed": 3}
BASE |= {"width": 64, "height": 64}


def run(cache, x, y=None, stop=None, **base) -> list[Progress | Picture | Result]:
    axes = {n: {"field": a[0], "values": a[1]} for n, a in zip("xy", (x, y), strict=True) if a}
    request = validate(GridRequest, {"base": BASE | base, **axes})
    return list(engine.run(request, cache, stop or threading.Event()))


def test_every_cell_is_the_picture_that_its_request_makes(cache):
    *events, result = run(cache, ("guidance", "1, 4"), ("size", "64x64, 128x64"))
    cells = [event for event in events if isinstance(event, Picture)]
    assert [(c.image.size, c.request.guidance) for c in cells] == [
        ((64, 64), 1), ((64, 64), 4), ((128, 64), 1), ((128, 64), 4),
    ]  # fmt: skip
    for cell in cells[1:3]:
        (alone,) = [
            each
            for each in text_to_image.run(cell.request, cache, threading.Event())
            if isinstance(each, Picture)
        ]
        assert np.array_equal(np.asarray(alone.image), np.asarray(cell.image))
    assert [cell["place"] for cell in result.data["cells"]] == [
        [0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0],
    ]  # fmt: skip
    assert result.data["pictures"] == 4
    assert result.image.width > 2 * 128


def test_a_cell_that_fails_says_why_and_the_rest_goes_on(cache, monkeypatch):
    real = text_to_image.run

    def sometimes(request, *rest):
        if request.seed == 2:
            raise UserError("The {thing} is broken.", thing="brush")
        yield from real(request, *rest)

    monkeypatch.setattr(text_to_image, "run", sometimes)
    *events, result = run(cache, ("seed", "1-3"))
    assert [e.request.seed for e in events if isinstance(e, Picture)] == [1, 3]
    assert result.data["pictures"] == 2
    assert result.data["cells"][1]["error"] == "The brush is broken."
    (note,) = [Message.from_json(each) for each in result.data["notes"]]
    assert str(note) == "Seed: 2 could not be painted: The brush is broken."
    steps = [e.step for e in events if isinstance(e, Progress) and e.note is None]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    with pytest.raises(UserError, match="The brush is broken"):
        run(cache, ("seed", "2"))


def test_a_wrong_value_in_the_last_cell_costs_nothing(cache, monkeypatch):
    painted = []
    monkeypatch.setattr(text_to_image, "run", lambda *a: painted.append(a) or iter(()))
    for axis in (("steps", "1, 2, 999"), ("sampler", "Euler, Eular")):
        with pytest.raises(BadRequest, match=r"999|Eular"):
            run(cache, axis)
    assert painted == []


def test_each_model_of_an_axis_is_loaded_once_though_only_one_has_room(catalog):
    """Their cells come one after another, also where the steps are on the outer axis."""
    loads = []

    def load_twin(name, device, notes):
        loads.append(name)
        entry = catalog.get("tiny-sd1").model_copy(update={"name": name})
        return load(entry, device, notes, offline=True, home=catalog.home)

    with ModelCache(load_twin, "cpu", 2**30).lease("one") as model:
        room = model.nbytes * 3 // 2
    loads.clear()
    small = ModelCache(load_twin, "cpu", room)
    *events, _ = run(small, ("model", "one, other"), ("steps", "1, 2"), model="other")
    painted = [each.request.model for each in events if isinstance(each, Picture)]
    assert painted == ["one", "one", "other", "other"]
    assert loads == ["one", "other"]


# --- the judge ------------------------------------------------------------------------------------


def test_what_a_prompt_asks_for_is_read():
    assert read_prompt("A CRIMSON coffee mug and a duck at dusk") == Asked(
        (("mug", "red"), ("duck", "")), "sunset"
    )
    assert read_prompt("an orange on a white background") == Asked((), "studio")
    assert read_prompt("justice").count == 0


def test_what_is_right_of_it_is_counted():
    def toy(kind: str, colour: str) -> Seen:
        return Seen(kind, colour, "matte", 0.9, (0, 0, 9, 9))

    asked = read_prompt("a red mug and a red duck in the snow")
    assert asked.count == 5
    for toys, place, right in (
        ([toy("mug", "red"), toy("duck", "red")], "snow", 5),
        ([toy("mug", "blue"), toy("duck", "red")], "snow", 4),
        ([toy("mug", "red")], "grass", 2),
        ([], "grass", 0),
        ([toy("mug", "blue"), toy("mug", "red")], "snow", 3),
    ):
        assert count_right(asked, Verdict(place, tuple(toys))) == right
