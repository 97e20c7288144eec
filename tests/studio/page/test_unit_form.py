"""The controls of a unit: parameters that follow the preprocessor, models that fit the base."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Annotated

import gradio as gr
import pytest
from pydantic import BaseModel, Field

from pipelines.core.errors import BadRequest, NotFound, validate
from pipelines.diffusion.control.catalog import ControlCatalog, ControlEntry
from pipelines.diffusion.control.requests import ControlUnit
from pipelines.models.catalog import Catalog
from pipelines.preprocessors import registry
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.page.components.parameters import Parameters
from studio.page.units.unit_form import FIRST, STRANGE, UnitForm, _distance
from studio.page.widgets import Visitor

PICTURE = "0" * 32
VISITOR = Visitor(LOCAL_OWNER, "en")


class Two(BaseModel):
    low: Annotated[int, Field(ge=0, le=9, title="Low")] = 1
    high: Annotated[int, Field(ge=0, le=99, title="High")] = 2


class Mixed(BaseModel):
    sharp: Annotated[bool, Field(title="Sharp")] = True
    size: Annotated[float, Field(ge=0, le=1, title="Size")] = 0.5
    seed: Annotated[int, Field(ge=0, le=2**32, title="Seed")] = 3


@pytest.fixture
def parameters():
    with gr.Blocks():
        return Parameters([Two, Mixed], Two, "unit")


def test_there_are_as_many_controls_of_a_kind_as_any_needs(parameters):
    whose, *controls = parameters.controls
    kinds = [type(control) for control in controls]
    assert sorted(kind.__name__ for kind in kinds) == ["Checkbox", "Number", "Slider", "Slider"]
    shown = [control for control in controls if control.visible]
    assert [(control.maximum, control.value) for control in shown] == [(9, 1), (99, 2)]
    assert (whose.value, whose.visible) == ("Two", "hidden")


def test_the_controls_take_on_another_s_bounds_and_values(parameters):
    _, *updates = parameters.show(Mixed, {"size": 0.25})
    seen = {update["label"].key: update for update in updates if update["visible"]}
    assert seen.keys() == {"Sharp", "Size", "Seed"}
    assert (seen["Size"]["value"], seen["Size"]["maximum"]) == (0.25, 1)
    assert (seen["Sharp"]["value"], seen["Seed"]["value"]) == (True, 3)


def test_values_go_by_the_names_of_what_is_chosen(parameters):
    whose, *updates = parameters.show(Mixed, {"seed": 8})
    values = [whose, *(update.get("value") for update in updates)]
    assert parameters.data(Mixed, values) == {"sharp": True, "size": 0.5, "seed": 8}


def test_what_the_controls_still_hold_of_another_is_not_taken_over(parameters):
    whose, *updates = parameters.show(Two, {"low": 7})
    values = [whose, *(update.get("value") for update in updates)]
    assert parameters.data(Mixed, values) == {}


# --- the whole unit -------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path):
    """A unit's form, as drawn in a studio with a ControlNet of its own in the home folder."""
    folder = tmp_path / "control" / "own-net"
    folder.mkdir(parents=True)
    config = {"_class_name": "ControlNetModel", "cross_attention_dim": 768}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "weights.safetensors").write_bytes(b"\0" * 16)

    def here(owner, id):
        if id != PICTURE:
            raise NotFound("none")
        return SimpleNamespace(id=id)

    studio = SimpleNamespace(
        home=tmp_path,
        catalog=Catalog(tmp_path),
        control=ControlCatalog(tmp_path),
        inputs=SimpleNamespace(get=here),
    )
    form = UnitForm(studio, 1)
    with gr.Blocks():
        form.draw_picture()
        form.draw_steering()
    return form


def fill_unit(unit, fields, base="sd15") -> dict[str, object]:
    """The updates of a fill by the control's ``elem_id``."""
    updates = unit.fill(fields, unit.studio.catalog.get(base), VISITOR)
    names = [output.elem_id.removeprefix("unit-1-") for output in unit.outputs]
    return dict(zip(names, updates, strict=True))


def values_of(unit, updates) -> list[object]:
    inputs = [control.elem_id.removeprefix("unit-1-") for control in unit.inputs]
    values = [updates[name] for name in inputs]
    return [v.get("value") if isinstance(v, dict) else v for v in values]


def test_what_was_filled_in_comes_out_as_the_same_unit(unit):
    fields = {
        "picture": PICTURE,
        "preprocessor": "canny",
        "parameters": {"low": 11, "high": 222},
        "resize_mode": "pad",
        "model": "sd1-adapter-canny",
        "weight": 0.4,
        "start": 0.1,
        "end": 0.6,
        "control_mode": "prompt",
    }
    updates = fill_unit(unit, fields)
    assert updates["method"]["value"] == "t2i_adapter"
    assert unit.data(values_of(unit, updates)) == fields
    validate(ControlUnit, fields)


def test_an_empty_unit_is_no_unit(unit):
    assert unit.data(values_of(unit, fill_unit(unit, None))) is None


def test_a_picture_that_is_not_the_visitors_is_left_out(unit):
    updates = fill_unit(unit, {"picture": "1" * 32, "weight": 0.4})
    assert updates["canvas"] == ""
    assert updates["weight"] == 0.4


def test_a_base_without_control_models_says_so_and_cannot_be_steered(unit, monkeypatch):
    monkeypatch.setattr(unit.studio.control, "models", list)
    updates = fill_unit(unit, {"picture": PICTURE})
    assert "No control model fits" in updates["fit"]
    with pytest.raises(BadRequest, match="No control model is chosen for picture 1"):
        unit.data(values_of(unit, updates))


def test_only_models_that_fit_the_base_and_the_method_are_offered(unit):
    offered = fill_unit(unit, None, "sdxl")["model"]["choices"]
    entries = [unit.studio.control.get(name) for _, name in offered]
    assert {(entry.family, entry.method) for entry in entries} == {("sdxl", "controlnet")}


def test_a_model_of_another_base_gives_way(unit):
    updates = fill_unit(unit, {"model": "sd15-controlnet-canny"}, "sdxl")
    assert updates["model"]["value"] in [name for _, name in updates["model"]["choices"]]


def test_models_that_are_here_go_first(unit):
    assert fill_unit(unit, None)["model"]["value"] == "own-net"


def test_balance_is_of_controlnets_alone(unit):
    assert fill_unit(unit, {"model": "own-net"})["control-mode"]["visible"] is True
    assert fill_unit(unit, {"model": "sd1-adapter-depth"})["control-mode"]["visible"] is False


@pytest.mark.parametrize(
    ("condition", "preprocessor", "read_as", "distance"),
    [
        ("canny", "canny", "canny", 0),
        ("scribble", "scribble_hed", "scribble", 1),
        ("sketch", "sketch_pidinet", "sketch_pidinet", 0),
        ("sketch", "sketch_pidinet", "lineart", 2),
        ("color", "none", "grid_grey", 2),
        ("any", "none", "openpose", 2),
        ("tile", "none", "none", 2),
        ("depth", "depth_midas", "canny", STRANGE),
        ("canny", "canny", "depth_anything", STRANGE),
    ],
)
def test_how_far_maps_are_from_what_a_model_has_learnt(condition, preprocessor, read_as, distance):
    entry = ControlEntry(name="x", title="X", method="controlnet", family="sd1",
                         condition=condition, preprocessor=preprocessor,
                         source={"hub": "a/b"})  # fmt: skip
    assert _distance(entry, registry.get(read_as)) == distance


def test_maps_of_another_kind_are_remarked_upon(unit):
    strange = fill_unit(unit, {"model": "sd15-controlnet-depth", "preprocessor": "canny"})["fit"]
    assert "maps of another kind" in strange
    assert "Depth (MiDaS)" in strange
    fitting = {"model": "sd15-controlnet-depth", "preprocessor": "depth_midas"}
    assert "another kind" not in fill_unit(unit, fitting)["fit"]


def test_the_first_way_of_reading_needs_no_weights():
    assert registry.get(FIRST).weights is None
