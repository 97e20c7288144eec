"""One prompt and seed by several samplers at several step counts."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import BadRequest, Stopped, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.pictures.contact_sheet import labelled_grid
from pipelines.diffusion import text_to_image
from pipelines.grids import engine
from pipelines.grids.requests import CompareSamplersRequest


def request_of(samplers=("Euler", "Heun"), steps=(2, 3), **base) -> CompareSamplersRequest:
    base = {"prompt": "a red mug", "model": "tiny-sd1", "width": 64, "height": 64} | base
    return validate(CompareSamplersRequest, {"base": base, "samplers": samplers, "steps": steps})


def run(cache, request) -> list[Progress | Picture | Result]:
    return list(engine.run(request, cache, threading.Event()))


def test_each_cell_is_a_normal_result_with_one_seed_for_all(cache):
    events = run(cache, request_of(schedule="Karras", batch_size=3))
    cells = [event for event in events if isinstance(event, Picture)]
    assert [(c.request.sampler, c.request.steps) for c in cells] == [
        ("Euler", 2),
        ("Euler", 3),
        ("Heun", 2),
        ("Heun", 3),
    ]
    assert len({cell.request.seed for cell in cells}) == 1
    assert {(cell.request.schedule, cell.request.batch_size) for cell in cells} == {("Karras", 1)}
    again = [
        event
        for event in text_to_image.run(cells[2].request, cache, threading.Event())
        if isinstance(event, Picture)
    ]
    assert np.array_equal(np.asarray(again[0].image), np.asarray(cells[2].image))


def test_what_has_no_effect_in_some_of_the_cells_is_said_once(cache):
    request = request_of(
        ("Euler", "DDIM", "Heun"), (1, 2), eta=0.5, guidance=1, negative_prompt="fog"
    )
    result = run(cache, request)[-1]
    assert [str(Message.from_json(note)) for note in result.data["notes"]] == [
        "Negative prompt was left out: the guidance is 1.0, and it needs more than 1.",
        "Eta was left out: Euler does not use it.",
        "Eta was left out: Heun does not use it.",
    ]
    assert run(cache, request_of(("Euler", "DDIM"), (1,)))[-1].data["notes"] == []


def test_progress_counts_steps_over_all_cells_and_never_falls(cache):
    steps = [event for event in run(cache, request_of()) if isinstance(event, Progress)]
    counts = [event.step for event in steps if event.note is None]
    assert counts == sorted(counts)
    assert counts[-1] == steps[-1].total == 10


def test_the_sheet_holds_every_picture_and_the_result_every_time(cache):
    *_, result = run(cache, request_of())
    assert [c["values"] for c in result.data["cells"]] == [
        ["Steps: 2", "Sampler: Euler"],
        ["Steps: 3", "Sampler: Euler"],
        ["Steps: 2", "Sampler: Heun"],
        ["Steps: 3", "Sampler: Heun"],
    ]
    assert all(cell["seconds"] > 0 for cell in result.data["cells"])
    assert result.image.width > 2 * 64
    assert result.image.height > 2 * 64


def test_an_open_schedule_is_chosen_for_each_sampler(cache):
    cells = [e for e in run(cache, request_of(("Euler", "DDIM"), (2,))) if isinstance(e, Picture)]
    assert [cell.request.schedule for cell in cells] == ["Karras", "Uniform"]


def test_samplers_named_twice_are_painted_once(cache):
    cells = [
        e for e in run(cache, request_of(("Euler", "Euler"), (2, 2))) if isinstance(e, Picture)
    ]
    assert len(cells) == 1


def test_all_combinations_without_sense_are_named_before_any_is_painted(cache):
    events = engine.run(
        request_of(("DDIM", "Euler", "Foo", "LCM"), (2, 60), schedule="Karras"),
        cache,
        threading.Event(),
    )
    with pytest.raises(BadRequest) as refused:
        list(events)
    sentence = str(refused.value)
    assert "DDIM cannot follow the schedule Karras" in sentence
    assert "no sampler called Foo" in sentence
    assert "LCM cannot follow the schedule Karras" in sentence
    assert sentence.count("DDIM cannot") == 1


def test_stopping_takes_effect_within_one_step(cache):
    stop = threading.Event()
    events = engine.run(request_of(steps=(20,)), cache, stop)
    next(events)
    stop.set()
    with pytest.raises(Stopped):
        next(events)


def test_labels_of_any_script_fit_beside_the_pictures_and_leave_them_whole():
    red = Image.new("RGB", (64, 48), "red")
    sheet = labelled_grid(
        ["DPM++ 2M SDE Exponential and more words", "采样器" * 20], ["20 steps", "🦆"],
        [[red, red], [red, red]], [["1.00 s", "2.00 s"], ["3.00 s", ""]],
    )  # fmt: skip
    pixels = np.asarray(sheet)
    assert (pixels == (255, 0, 0)).all(axis=-1).sum() == 4 * 64 * 48
    inked = (pixels < 128).all(axis=-1)
    left = int(np.argmax((pixels == (255, 0, 0)).all(axis=-1).any(axis=0)))
    assert inked[:, :left].any()  # row labels
    assert labelled_grid(["DPM++ 2M Karras"], ["1"], [[red]], [[""]]).width < left + 2 * 64
    assert not inked[:, 0].any()  # with a margin
