"""Units beside a picture that is changed: what they follow, and the maps that are shown of it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion.control import conditions
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import ControlUnit
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.from_picture.mask_form import MaskForm
from studio.page.components.canvas import canvas
from studio.page.units.beside import ANOTHER, ITSELF, NOTHING, UnitsBeside
from studio.page.widgets import Visitor

VISITOR = Visitor(LOCAL_OWNER, "en")
SIZE = (128, 64)
MODEL = "sd15-controlnet-canny"


class Beside:
    """The units with the mask's controls, as the tab draws them; pictures are in ``home``."""

    def __init__(self, home) -> None:
        picture = Image.new("RGB", (256, 128), "white")
        draw = ImageDraw.Draw(picture)
        draw.rectangle((20, 20, 60, 60), fill="black")
        draw.ellipse((150, 50, 230, 110), fill="red")
        mask = Image.new("RGB", picture.size)
        ImageDraw.Draw(mask).rectangle((160, 60, 200, 90), fill="white")
        self.picture = keep_input(home, "local", picture)
        self.mask = keep_input(home, "local", mask)
        self.other = keep_input(home, "local", picture.transpose(Image.Transpose.ROTATE_180))
        mine = {self.picture, self.mask, self.other}

        def get(owner, id):
            if id not in mine:
                raise NotFound("none")
            return SimpleNamespace(id=id, width=256, height=128)

        def make_map(owner, wanted, size, tell, part):
            get(owner, wanted.picture)
            self.asked = (wanted, part)
            *_, made = conditions.condition_map(wanted, size, home, None, threading.Event(), *part)
            return made

        self.studio = SimpleNamespace(
            home=home,
            catalog=Catalog(home),
            control=ControlCatalog(home),
            inputs=SimpleNamespace(get=get),
            find=lambda name: SimpleNamespace(map=make_map),
        )
        with gr.Blocks():
            self.canvas = canvas("change-canvas")
            self.form = MaskForm(self.studio, "change-")
            self.form.draw_layer("change-canvas")
            self.form.draw_fields()
            self.fit = gr.Radio(["crop", "pad", "stretch"], value="crop", elem_id="change-fit")
            self.units = UnitsBeside(self.studio, self.canvas, self.form.painted_part)
            self.units.draw(self.fit)
            size = [gr.Slider(value=side) for side in SIZE]
        for unit in self.units._units:
            unit._size = size

    def values(self, controls, **changes):
        found = {f"change-{name.replace('_', '-')}": value for name, value in changes.items()}
        return [found.get(each.elem_id, each.value) for each in controls]

    def map(self, number=1, **changes) -> np.ndarray | None:
        unit = self.units._units[number - 1]
        values = self.values(unit._of_map, canvas=self.picture, **changes)
        made = unit._make_map(values, LOCAL_OWNER, lambda progress: None)
        return None if made is None else np.asarray(made)

    def data(self, **changes) -> list[dict]:
        values = self.values(self.units.inputs, **changes)
        return self.units.data(values, self.picture, "pad")


@pytest.fixture(scope="module")
def beside(tmp_path_factory) -> Beside:
    return Beside(tmp_path_factory.mktemp("home"))


def map_of(beside, box, size=SIZE) -> np.ndarray:
    """What a scribble of a part of the picture is, cropped by hand."""
    with Image.open(beside.studio.home / "inputs" / f"{beside.picture}.png") as picture:
        part = picture.convert("RGB").crop(box)
    id = keep_input(beside.studio.home, "local", part)
    asked = conditions.ConditionRequest(picture=id, preprocessor="scribble", resize_mode="stretch")
    *_, made = conditions.condition_map(asked, size, beside.studio.home, None, threading.Event())
    return np.asarray(made)


def test_the_map_is_of_the_part_that_is_painted(beside):
    masked = {"mask": beside.mask, "area": "masked", "padding": 8, "mask_blur": 0}
    shown = beside.map(unit_1_source=ITSELF, **masked)
    # 41×31 pixels and 8 on each side, as wide as high twice: 94×47.
    _, (box, whole) = beside.asked
    left, top, right, bottom = box
    assert left <= 152 < 208 <= right
    assert top <= 52 < 98 <= bottom
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.03)
    assert whole == (256, 128)
    assert np.array_equal(shown, map_of(beside, box))
    everything = beside.map(unit_1_source=ITSELF, **{**masked, "area": "whole"})
    assert not np.array_equal(shown, everything)
    assert np.array_equal(everything, beside.map(unit_1_source=ITSELF))


def test_another_picture_is_shown_in_part_only_where_it_is_cropped_along(beside):
    asked = {"mask": beside.mask, "area": "masked", "unit_2_source": ANOTHER,
             "unit_2_canvas": beside.other}  # fmt: skip
    beside.map(2, **asked)
    assert beside.asked[1] == ()
    beside.map(2, **asked, unit_2_crop_along=True)
    assert beside.asked[1][1] == (256, 128)


def test_the_map_of_a_picture_that_grows_has_its_new_sides(beside):
    shown = beside.map(unit_1_source=ITSELF, right=128)
    assert shown.shape[:2] == (128, 384)


def test_nothing_is_read_where_nothing_is_followed(beside):
    assert beside.map(unit_1_source=NOTHING, unit_1_canvas=beside.other) is None
    assert beside.map(unit_1_source=ANOTHER) is None  # its own canvas is empty


def test_a_mask_of_somebody_else_is_not_read(beside):
    strange = keep_input(beside.studio.home, "eve", Image.new("RGB", (256, 128), "white"))
    with pytest.raises(NotFound):
        beside.map(unit_1_source=ITSELF, mask=strange, area="masked")


def test_what_is_followed_is_the_picture_itself_or_another_one(beside):
    assert beside.data() == []
    (unit,) = beside.data(unit_1_source=ITSELF, unit_1_model=MODEL, unit_1_canvas=beside.other)
    assert (unit["picture"], unit["resize_mode"]) == (beside.picture, "pad")
    assert "crop_along" not in unit
    follow = {"unit_3_source": ANOTHER, "unit_3_model": MODEL}
    (unit,) = beside.data(**follow, unit_3_canvas=beside.other)
    assert (unit["picture"], unit["resize_mode"]) == (beside.other, "crop")
    assert "crop_along" not in unit
    (unit,) = beside.data(**follow, unit_3_canvas=beside.other, unit_3_crop_along=True)
    assert (unit["crop_along"], unit["resize_mode"]) == (True, "pad")
    # The picture itself as another one: fitted by itself, unless that is said.
    (unit,) = beside.data(**follow, unit_3_canvas=beside.picture)
    assert unit["crop_along"] is False
    with pytest.raises(BadRequest, match="Picture 3 to follow is empty"):
        beside.data(**follow)


def test_what_was_followed_comes_back_in_its_place(beside):
    base = beside.studio.catalog.get("sd15")
    itself = ControlUnit(picture=beside.picture, preprocessor="canny", model=MODEL, weight=0.4)
    along = ControlUnit(picture=beside.other, model=MODEL, crop_along=True)
    apart = ControlUnit(picture=beside.picture, model=MODEL, crop_along=False)
    units = [unit.model_dump() for unit in (itself, along, apart)]
    updates = beside.units.fill(units, base, VISITOR, beside.picture)
    by = {each.elem_id: value for each, value in zip(beside.units.outputs, updates, strict=True)}
    shown = [by[f"change-unit-{number}-source"] for number in (1, 2, 3)]
    assert shown == [ITSELF, ANOTHER, ANOTHER]
    assert [by[f"change-unit-{n}-crop-along"] for n in (1, 2, 3)] == [False, True, False]
    assert [by[f"change-unit-{n}-canvas"] for n in (2, 3)] == [beside.other, beside.picture]
    assert by["change-unit-1-canvas"] == "", "what is painted already has a canvas"
    seen = [by[f"change-unit-{n}-own"]["visible"] for n in (1, 2, 3)]
    assert seen == [False, True, True]
    assert by["change-unit-1-weight"] == 0.4
    assert by["change-units"]["open"] is by["change-unit-3"]["open"] is True
    values = [by[each.elem_id] for each in beside.units.inputs]
    values = [value.get("value") if isinstance(value, dict) else value for value in values]
    again = beside.units.data(values, beside.picture, "crop")
    again = [ControlUnit(**{**unit, "parameters": {}}) for unit in again]
    assert again == [itself, along, apart]
    nothing = beside.units.fill([], base, VISITOR, beside.picture)
    folds = nothing[-3:]
    assert [fold["open"] for fold in folds] == [False] * 3
