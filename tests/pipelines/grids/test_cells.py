"""What each cell of a grid is made with, and which grids are refused before anything is painted."""

from __future__ import annotations

import time

import pytest

from pipelines.core.errors import BadRequest, validate
from pipelines.diffusion.lora.use import LoraUse
from pipelines.grids.cells import MAX_CELLS
from pipelines.grids.requests import GridRequest
from pipelines.grids.values import read_numbers, read_texts

LORAS = [{"name": "clay", "weight": 1.0}, {"name": "wool", "weight": 0.5}]
UNIT = {"picture": "1" * 32, "model": "sketch"}


def grid(x, y=None, z=None, **base) -> GridRequest:
    axes = {
        name: {"field": axis[0], "values": axis[1]}
        for name, axis in zip("xyz", (x, y, z), strict=True)
        if axis is not None
    }
    return validate(GridRequest, {"base": {"prompt": "a red mug", "seed": 1, **base}, **axes})


@pytest.mark.parametrize(
    ("text", "whole", "expected"),
    [
        ("1, 3 ,5", True, [1, 3, 5]),
        ("1-5", True, [1, 2, 3, 4, 5]),
        ("1-5 (+2)", True, [1, 3, 5]),
        ("1-6 (+2), 9", True, [1, 3, 5, 9]),
        ("10-1 (-3)", True, [10, 7, 4, 1]),
        ("1-10 [5]", True, [1, 3, 5, 7, 10]),
        ("-1", True, [-1]),
        ("0-1 (+0.25)", False, [0, 0.25, 0.5, 0.75, 1]),
        ("0-0.3 (+0.1)", False, [0, 0.1, 0.2, 0.3]),
        ("1-3 [5]", False, [1, 1.5, 2, 2.5, 3]),
        ("7.5, 7.5", False, [7.5]),
        ("5-5", True, [5]),
        # As other keyboards write them: Chinese, a word processor's dash, a decimal comma.
        ("1，2、３", True, [1, 2, 3]),
        ("１－９［3］", True, [1, 5, 9]),
        ("1–5 (+2)", True, [1, 3, 5]),
        ("\ufeff−1, + 2", True, [-1, 2]),
        ("6,5; 7; 7,5", False, [6.5, 7, 7.5]),
        ("0-1 (+0,5);2", False, [0, 0.5, 1, 2]),
    ],
)
def test_numbers_are_written_as_a1111_writes_them(text, whole, expected):
    assert read_numbers(text, whole) == expected


def test_texts_have_commas_in_quotes():
    assert read_texts('Euler, "a, b" , ,DPM++ 2M') == ["Euler", "a, b", "DPM++ 2M"]


BAD = ["1 2 3", "1;2,5", "", " , ", "x", "1.5", "1-", "1-999999999", "1-9 (+0)", "1-2 [999]"]


@pytest.mark.parametrize("text", [*BAD, ",".join(map(str, range(101)))])
def test_values_that_cannot_be_read_are_refused_at_once(text):
    began = time.process_time()
    with pytest.raises(BadRequest):
        read_numbers(text, whole=True)
    assert time.process_time() - began < 0.05


@pytest.mark.parametrize(
    ("axis", "base", "of"),
    [
        (("steps", "5-15 (+5)"), {}, lambda r: (r.steps, [5, 10, 15])),
        (("guidance", "1, 2.5"), {}, lambda r: (r.guidance, [1, 2.5])),
        (("sampler", "Euler, DPM++ 2M"), {}, lambda r: (r.sampler, ["Euler", "DPM++ 2M"])),
        (("model", "starter, sd15"), {}, lambda r: (r.model, ["starter", "sd15"])),
        (("size", "64x128, 128 × 64"), {}, lambda r: ((r.width, r.height), [(64, 128), (128, 64)])),
        (("loras[1].weight", "0, 1"), {"loras": LORAS}, lambda r: (r.loras[1].weight, [0, 1])),
        (("units[0].start", "0, .5"), {"units": [UNIT]}, lambda r: (r.units[0].start, [0, 0.5])),
        (
            ("from_picture.strength", "0.2, 0.4"),
            {"from_picture": {"picture": "1" * 32}},
            lambda r: (r.from_picture.strength, [0.2, 0.4]),
        ),
        (
            ("from_picture.fit", "crop, pad"),
            {"from_picture": {"picture": "1" * 32}},
            lambda r: (r.from_picture.fit, ["crop", "pad"]),
        ),
        (
            ("prompt", "red, blue, green"),
            {"negative_prompt": "not red"},
            lambda r: (
                (r.prompt, r.negative_prompt),
                [(f"a {c} mug", f"not {c}") for c in ("red", "blue", "green")],
            ),
        ),
        (
            ("prompt_order", "red, mug"),
            {},
            lambda r: (r.prompt, ["a red mug", "a mug red"]),
        ),
    ],
)
def test_an_axis_is_any_setting_of_the_request(axis, base, of):
    cells = [cell.request for cell in grid(axis, **base).cells()]
    assert [of(cell)[0] for cell in cells] == of(cells[0])[1]
    assert {(cell.seed, cell.batch_size, cell.batch_count) for cell in cells} == {(1, 1, 1)}


@pytest.mark.parametrize("forms", [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_word_is_found_in_the_prompt_however_its_accents_are_kept(forms):
    written, typed = forms
    words = grid(("prompt", f"{typed}, tea"), prompt=f"a {written}").cells()
    assert [cell.request.prompt for cell in words] == [f"a {written}", "a tea"]
    order = grid(("prompt_order", f"{typed}, red"), prompt=f"{written} red").cells()
    assert [cell.request.prompt for cell in order] == [f"{written} red", f"red {written}"]


def test_what_is_costly_to_change_is_changed_seldom_wherever_it_stands():
    cells = grid(
        ("model", "starter, sd15"), ("steps", "1, 2"), ("prompt", "red, blue"), batch_size=4
    ).cells()
    assert [(c.request.model, c.request.prompt, c.request.steps) for c in cells] == [
        (model, prompt, steps)
        for model in ("starter", "sd15")
        for prompt in ("a red mug", "a blue mug")
        for steps in (1, 2)
    ]
    assert cells[1].place == (0, 1, 0)
    assert cells[1].values == ("Checkpoint name: starter", "Steps: 2", "Prompt S/R: red")


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ([("steps", "10, 20, 500")], "(Steps: 500) Steps is 500; it must be at most 150."),
        ([("steps", "8"), ("guidance", "3, 99")], "(Steps: 8, CFG Scale: 99) Guidance is 99.0"),
        ([("steps", "1-100"), ("seed", "1-100")], f"has 10000 cells; at most {MAX_CELLS}"),
        ([("stepz", "1")], "There is no setting stepz to vary. Choose one of model,"),
        ([("__class__", "a")], "There is no setting __class__"),
        ([("loras", "a")], "There is no setting loras "),
        ([("loras[0].weight", "1")], "cannot be varied: the settings have no loras[0]"),
        ([("from_picture.strength", "1")], "cannot be varied: the settings have no from_picture"),
        ([("prompt", "boat, duck")], "boat does not stand in the prompt"),
        ([("prompt_order", "red, boat")], "boat does not stand in the prompt"),
        ([("prompt_order", "a, b, c, d, e, f")], "does not stand in the prompt"),
        ([("size", "512")], "512 is no size"),
        ([("size", "100x100")], "(Size: 100×100) Width is 100; it must be a multiple of 8."),
        ([("steps", "1"), ("steps", "2")], "Two axes are both of Steps"),
        ([("combinations", "perhaps")], "perhaps is neither true nor false"),
        ([("steps", "abc")], "abc is no whole number"),
    ],
)  # fmt: skip
def test_a_grid_that_makes_no_sense_is_refused_before_anything_is_painted(axes, sentence):
    with pytest.raises(BadRequest) as refused:
        grid(*axes).cells()
    assert sentence in str(refused.value)


def test_words_that_would_fill_the_memory_are_refused_before_they_are_put_in():
    """Each axis replaces in what the one before has made: 500 gigabytes of these 30 kilobytes."""
    asked = grid(
        ("prompt", "a," + "b" * 9_000),
        ("prompt", "b," + "c" * 9_000),
        ("prompt", "c," + "d" * 9_000),
        prompt="abc " + "a" * 5_000,
    )
    with pytest.raises(BadRequest, match=r"characters; at most 10000 are taken"):
        asked.cells()


def test_ids_are_nobody_s_to_vary():
    with pytest.raises(BadRequest, match="There is no setting loras"):
        grid(("loras[0].id", "a"), loras=LORAS).cells()


def test_cells_know_the_ids_of_the_loras_that_they_name():
    request = grid(("prompt", "clay, wool"), prompt="a mug <lora:clay:0.5>")
    ids = {name: str(n) * 32 for n, name in enumerate(("clay", "wool"), start=1)}
    known = tuple(LoraUse(name=name, id=id) for name, id in ids.items())
    cells = request.model_copy(update={"loras": known}).cells()
    assert [(use.name, use.weight, use.id) for c in cells for use in c.request.loras] == [
        ("clay", 0.5, ids["clay"]),
        ("wool", 0.5, ids["wool"]),
    ]


def test_a_grid_uses_what_any_of_its_cells_uses():
    base = {"from_picture": {"picture": "1" * 32}}
    request = grid(("from_picture.picture", f"{'1' * 32}, {'2' * 32}"), **base)
    assert {use.item for use in request.uses()} == {"1" * 32, "2" * 32}
