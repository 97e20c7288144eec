"""Before and after: the same seeds without and with a LoRA, on one labelled sheet."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

from pipelines.core.errors import BadRequest, Stopped, validate
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.core.pictures.contact_sheet import labelled_grid
from pipelines.diffusion import text_to_image
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.dreambooth import before_after
from pipelines.dreambooth.requests import WEIGHTS, BeforeAfterRequest
from tests.pipelines.diffusion.lora import files
from tests.pipelines.diffusion.lora.conftest import BASE

BASE_SETTINGS = {"prompt": "x", "model": BASE, "steps": 2, "seed": 7, "width": 64, "height": 64}
PROMPTS = ["a red mug", "a blue mug"]


@pytest.fixture
def use(library, halves) -> dict:
    record = library.add("ann", "clay", files.kohya(halves, alpha=2.0))
    return {"name": "clay", "id": record.id}


def request_of(**fields) -> BeforeAfterRequest:
    return validate(BeforeAfterRequest, {"base": BASE_SETTINGS, "prompts": PROMPTS} | fields)


def run(request, cache, stop=None) -> list:
    return list(before_after.run(request, cache, stop or threading.Event()))


def test_every_cell_is_what_its_request_paints_alone(lora_cache, use):
    events = run(request_of(lora=use, weights=[0, 0.5, 1]), lora_cache)
    pictures = [event for event in events if isinstance(event, Picture)]
    asked_for = [(p.request.prompt, [u.weight for u in p.request.loras]) for p in pictures]
    assert asked_for == [(prompt, weights) for weights in ([], [0.5], [1.0]) for prompt in PROMPTS]
    assert {picture.request.seed for picture in pictures} == {7}
    for picture in pictures[::3]:
        alone = text_to_image.run(picture.request, lora_cache, threading.Event())
        (same,) = [event.image for event in alone if isinstance(event, Picture)]
        assert same.tobytes() == picture.image.tobytes()
    assert pictures[0].image.tobytes() != pictures[4].image.tobytes()


def test_the_sheet_holds_all_cells_and_progress_only_rises(lora_cache, use):
    events = run(request_of(lora=use, weights=[0, 1]), lora_cache)
    result = events[-1]
    assert isinstance(result, Result)
    assert result.data["pictures"] == 4
    assert result.data["weights"] == [0, 1]
    (note,) = result.data["notes"]
    assert note["values"]["matched"] == note["values"]["keys"] > 10
    sheet = np.asarray(result.image)
    for picture in (event.image for event in events if isinstance(event, Picture)):
        assert any(
            np.array_equal(sheet[y : y + 64, x : x + 64], np.asarray(picture))
            for y in range(sheet.shape[0] - 63)
            for x in range(sheet.shape[1] - 63)
            if tuple(sheet[y, x]) == picture.getpixel((0, 0))
        )
    done = [e.step for e in events if isinstance(e, Progress) and e.note is None]
    assert done == sorted(done)
    assert done[-1] <= 400


def test_tags_in_the_prompts_are_said_to_be_left_out(lora_cache, use):
    request = request_of(lora=use, weights=[1], prompts=["a mug <lora:other:1>", "a hat"])
    *_, result = run(request, lora_cache)
    assert str(Message.from_json(result.data["notes"][-1])).startswith("<lora:other:1> was left")


def test_a_random_seed_is_one_for_all(lora_cache, use):
    base = BASE_SETTINGS | {"seed": -1}
    events = run(request_of(base=base, lora=use, weights=[0, 1]), lora_cache)
    seeds = {event.request.seed for event in events if isinstance(event, Picture)}
    assert len(seeds) == 1
    assert -1 not in seeds


def test_it_stops(lora_cache, use):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        run(request_of(lora=use), lora_cache, stop)


def test_a_trained_model_is_compared_with_its_base():
    request = request_of(model="own:0")
    assert [[cell.model for cell in row] for row in request.rows()] == [[BASE, "own:0"]] * 2


def test_the_sheet_is_titled_with_numbers_and_names_which_every_language_reads(
    lora_cache, use, home, monkeypatch
):
    sheets = []
    monkeypatch.setattr(
        before_after,
        "labelled_grid",
        lambda **given: sheets.append(given) or labelled_grid(**given),
    )
    run(request_of(lora=use, weights=[0, 0.25, 1]), lora_cache)
    assert sheets[0]["columns"] == ["0", "0.25", "1"]
    assert sheets[0]["captions"] == [["#7"] * 3] * 2
    library, folder = LoraLibrary(home), home / "models" / BASE
    own = library.add_model("ann", "pot", lambda to: shutil.copytree(folder, to), family="sd1")
    run(request_of(model=f"own:{own.id}"), lora_cache)
    assert sheets[1]["columns"] == [BASE, "pot"]


def test_batches_and_other_loras_of_the_settings_are_left_out():
    other = LoraUse(name="other")
    base = TextToImageRequest(**BASE_SETTINGS).model_copy(
        update={"batch_count": 4, "batch_size": 2, "loras": (other,)}
    )
    rows = request_of(lora={"name": "clay"}).model_copy(update={"base": base}).rows()
    assert all((cell.batch_count, cell.batch_size) == (1, 1) for row in rows for cell in row)
    assert rows[0][0].loras == ()
    assert [use.name for use in rows[0][1].loras] == ["clay"]
    assert len(rows[0]) == len(WEIGHTS)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "either a LoRA or a model"),
        ({"lora": {"name": "a"}, "model": "own:0"}, "either a LoRA or a model"),
        ({"lora": {"name": "a"}, "prompts": []}, "Prompts"),
        ({"lora": {"name": "a"}, "prompts": ["x"] * 9}, "Prompts"),
        ({"lora": {"name": "a"}, "weights": [9]}, "Weights"),
        ({"lora": {"name": "a"}, "weights": []}, "Weights"),
    ],
)
def test_what_cannot_be_compared_is_named(fields, said):
    with pytest.raises(BadRequest, match=said):
        request_of(**fields)
