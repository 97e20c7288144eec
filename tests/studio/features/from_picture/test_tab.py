"""The tab that changes pictures: what it sends, and what files and pictures put into it."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from pipelines.core.errors import BadRequest, NotFound
from pipelines.core.messages import Message
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import ControlUnit
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.exchange import Settings
from studio.core.gallery.metadata import format_parameters, parameters_of, parse_parameters
from studio.core.gallery.reuse import fields_of
from studio.features import load_features
from studio.features.control.tab import ControlTab
from studio.features.from_picture.mask_form import FIELDS
from studio.features.from_picture.tab import FromPictureTab
from studio.page.components.canvas import UNSENT
from studio.page.components.mask import mask_of, mask_on
from studio.page.tab_events import BROUGHT, BROUGHT_WITH_WORDS
from studio.page.widgets import Visitor

VISITOR = Visitor(LOCAL_OWNER, "en")
PICTURE, MASK = "a" * 32, "b" * 32
ROW = SimpleNamespace(request={"from_picture": FromPicture(
    picture=PICTURE, mask=MASK, area="masked", outpaint={"top": 9}).model_dump()})  # fmt: skip


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> FromPictureTab:
    home = tmp_path_factory.mktemp("home")

    def get(owner: str, id: str) -> SimpleNamespace:
        if id != PICTURE and id != MASK:
            raise NotFound("gone")
        return SimpleNamespace(id=id, width=120, height=60)

    studio = SimpleNamespace(
        home=home,
        catalog=Catalog(home),
        control=ControlCatalog(home),
        loras=SimpleNamespace(list=lambda owner: [], models=lambda owner: []),
        inputs=SimpleNamespace(
            get=get,
            from_gallery=lambda owner, id: SimpleNamespace(
                id=f"copy of {id}", notes=[Message("{id} shrank.", id=id[0])] * (id > "3")
            ),
        ),
        gallery=SimpleNamespace(get=lambda owner, id: ROW),
        features=load_features(),
        find=lambda name: name,
    )
    with gr.Blocks():
        tab = FromPictureTab(studio)
        tab.draw()
    return tab


def values(tab: FromPictureTab, **changes) -> list:
    """The values of all controls as they are drawn, with others for some by their ids."""
    controls = [*tab.form.inputs, *tab._picture]
    found = {f"change-{name}": value for name, value in changes.items()}
    return [found.get(each.elem_id, each.value) for each in controls]


def test_a_mask_and_what_is_added_are_asked_for_only_where_there_are_any(tab):
    asked = tab.data(values(tab, canvas=PICTURE))["from_picture"]
    assert not {*FIELDS, "mask", "outpaint"} & asked.keys()
    asked = tab.data(values(tab, canvas=PICTURE, mask=MASK, padding=7))["from_picture"]
    assert (asked["mask"], asked["padding"], asked["outpaint"]) == (MASK, 7, None)
    asked = tab.data(values(tab, canvas=PICTURE, left=24, right=None))["from_picture"]
    change = FromPicture(**asked)
    assert change.mask is None
    assert change.outpaint.pixels((120, 60)) == (24, 0, 0, 0)


def test_a_mask_that_has_not_been_sent_is_not_left_out_silently(tab):
    with pytest.raises(BadRequest, match="newest lines of your mask"):
        tab.data(values(tab, canvas=PICTURE, mask=UNSENT))


def test_a_mask_is_shown_with_its_picture_and_read_back_alone():
    assert mask_of(PICTURE, MASK) == f"{PICTURE}:{MASK}"
    assert mask_on(mask_of(PICTURE, MASK, is_offered=True)) == MASK
    assert mask_on(mask_of(PICTURE, None)) is None
    assert mask_on(MASK) == MASK
    assert mask_on(None) is mask_on("") is None


def test_a_picture_s_settings_bring_its_mask_back(tab):
    taken = tab._take_settings(Settings({}, {}, "one"), VISITOR, [])
    shown = dict(zip([each.elem_id for each in tab.outputs if each.elem_id], taken, strict=False))
    assert PICTURE in taken
    assert f"{PICTURE}:{MASK}" in taken
    at = tab.outputs.index(tab.mask.controls["area"])
    assert (taken[at], taken[tab.outputs.index(tab.mask.sides["top"])]) == ("masked", 9)
    assert len(taken) == len(tab.outputs) + 1, shown


def test_a_file_s_settings_leave_what_lies_on_the_canvas(tab):
    text = (
        "a red mug\nSteps: 20, Sampler: Euler, Seed: 4, Size: 128x128, Denoising strength: 0.6, "
        'Mask blur: 9, Inpaint area: Only masked, Outpaint: "left 64, right 32"'
    )
    parameters = parse_parameters(text)
    settings = Settings(fields_of(parameters), parameters, None)
    taken = tab._take_settings(settings, VISITOR, [])
    assert len(taken) == len(tab.outputs) + 1
    by = {id(each): value for each, value in zip(tab.outputs, taken, strict=False)}
    for kept in (tab.canvas, tab.mask.layer, tab.several):
        assert by[id(kept)] == gr.skip()
    assert by[id(tab.mask.controls["mask_blur"])] == 9
    assert by[id(tab.mask.controls["area"])] == "masked"
    assert [by[id(tab.mask.sides[side])] for side in ("left", "right")] == [64, 32]
    later = parse_parameters(text + ", Hires strength: 0.3, Hires upscale: 2")
    assert tab._take_settings(Settings(fields_of(later), later, None), VISITOR, []) is not None
    plain = parse_parameters("a red mug\nSteps: 20, Sampler: Euler, Seed: 4, Size: 128x128")
    assert tab._take_settings(Settings(fields_of(plain), plain, None), VISITOR, []) is None


def test_several_pictures_are_changed_in_their_order_and_the_first_lies_on_the_canvas(tab):
    asked = tab.data(values(tab, canvas=PICTURE, several=f"{MASK},c"))
    assert asked["from_picture"]["picture"] == PICTURE
    assert (asked["pictures"], asked["own_sizes"]) == ([MASK, "c"], True)
    asked = tab.data(values(tab, canvas="", several=f"{MASK},c"))  # the paper was cleared
    assert (asked["from_picture"]["picture"], asked["pictures"]) == (MASK, ["c"])
    assert tab.data(values(tab, canvas=PICTURE))["pictures"] == []


def test_what_was_changed_of_pictures_of_the_gallery_is_said_once(tab, monkeypatch):
    said = []
    monkeypatch.setattr("gradio.Info", lambda text, **more: said.append(text))
    tab._take_pictures(["1", "4<", "4", "5"], VISITOR, [])
    tab._take_picture("6", VISITOR, [])
    tab._take_picture("2", VISITOR, [])
    assert said == ["4 shrank.<br>5 shrank.", "6 shrank."]


def test_a_picture_of_the_gallery_brings_the_words_it_was_painted_by(tab, monkeypatch):
    painted = SimpleNamespace(request={"prompt": "a mug", "negative_prompt": "dents"})
    monkeypatch.setattr(tab.studio.gallery, "get", lambda owner, id: painted)
    assert tab._take_picture("1", VISITOR, [])[2:] == ["a mug", "dents", BROUGHT_WITH_WORDS]
    painted.request = {"scale": 2}  # it was only made larger: what is typed stays
    assert tab._take_picture("1", VISITOR, [])[2:] == [gr.skip(), gr.skip(), BROUGHT]


def test_several_pictures_of_the_gallery_come_in_up_to_a_number(tab):
    brought = tab._take_pictures(["1", "2", "3"], VISITOR, [])
    assert brought[:2] == ["copy of 1", "copy of 2,copy of 3"]
    assert tab._take_picture("4", VISITOR, [])[:2] == ["copy of 4", ""]  # one alone again
    with pytest.raises(BadRequest, match="101 pictures are chosen; at most 100"):
        tab._take_pictures([str(n) for n in range(101)], VISITOR, [])


def test_a_reload_shows_the_pictures_of_the_last_request_that_are_still_here(tab):
    request = {"pictures": [MASK, "d" * 32]}
    assert tab._pictures_here(request, VISITOR) == [MASK]


def test_beside_masks_and_added_sides_it_is_said_what_the_prompt_describes(tab):
    for control in (tab.mask.controls["area"], tab.mask.sides["unit"]):
        while not isinstance(control, gr.Accordion):
            control = control.parent
        hint = control.children[0]
        assert "whole scene" in str(hint.value)
        assert "starter" in str(hint.value)


def test_noise_and_colours_are_sent_and_come_back_from_a_file(tab):
    changes = {"noise-multiplier": 0.9, "colour-correction": True,
               "background": "rgba(18, 171.4, 0, 1)"}  # fmt: skip
    asked = tab.data(values(tab, canvas=PICTURE, **changes))["from_picture"]
    change = FromPicture(**asked)
    assert (change.noise_multiplier, change.extra_noise) == (0.9, 0)
    assert (change.colour_correction, change.background) == (True, "#12ab00")
    text = (
        "a red mug\nSteps: 20, Sampler: Euler, Seed: 4, Size: 128x128, Denoising strength: 0.6, "
        "Noise multiplier: 1.1, Extra noise: 0.2, Color correction: True"
    )
    parameters = parse_parameters(text)
    taken = tab._take_settings(Settings(fields_of(parameters), parameters, None), VISITOR, [])
    at = [tab.outputs.index(each) for each in tab.noise.inputs]
    shown = [taken[each]["value"] for each in at]
    assert shown == [1.1, 0.2, True, "#ffffff"]


# --- pictures that are followed besides -----------------------------------------------------------

STARTER_NET = "starter-controlnet-sketch"


def show(tab: FromPictureTab, taken: list) -> dict[str, object]:
    """What the controls of a taken request hold, by their ids; for :func:`values`."""
    named = zip([getattr(each, "elem_id", None) for each in tab.outputs], taken, strict=False)
    held = {name: value for name, value in named if name and name.startswith("change-unit")}
    return {
        name.removeprefix("change-"): value.get("value") if isinstance(value, dict) else value
        for name, value in held.items()
    }


def follow(tab: FromPictureTab, taken: list, **changes) -> list[dict]:
    """The units that come of the controls again."""
    return tab.data(values(tab, canvas=PICTURE, **{**show(tab, taken), **changes}))["units"]


UNITS = [
    {"picture": PICTURE, "preprocessor": "canny", "weight": 0.7},
    {"picture": MASK, "crop_along": True, "end": 0.5},
    {"picture": PICTURE, "crop_along": False, "resize_mode": "pad"},
]


def test_units_of_the_picture_itself_and_of_others_come_back_as_they_were(tab, monkeypatch):
    units = [ControlUnit(model=STARTER_NET, **each).model_dump() for each in UNITS]
    row = SimpleNamespace(request={**ROW.request, "units": units})
    monkeypatch.setattr(tab.studio.gallery, "get", lambda owner, id: row)
    taken = tab._take_settings(Settings({}, {}, "one"), VISITOR, [])
    seen = show(tab, taken)
    assert [seen[f"unit-{n}-source"] for n in (1, 2, 3)] == ["itself", "another", "another"]
    # What the preprocessors are set to is written out now.
    found = [ControlUnit(**{**each, "parameters": {}}) for each in follow(tab, taken)]
    assert found == [ControlUnit(model=STARTER_NET, **each) for each in UNITS]
    # Drawn in that tab they would be followed, but not painted over.
    control = ControlTab(tab.studio)
    assert control._units_of(Settings({}, {}, "one"), VISITOR) == []


def test_a_file_says_which_units_followed_the_picture_itself(tab):
    units = [ControlUnit(model=STARTER_NET, **each).model_dump() for each in UNITS[:2]]
    request = {**ROW.request, "units": units, "prompt": "a red mug", "steps": 4}
    text = format_parameters(parameters_of(request, (120, 60)))
    parameters = parse_parameters(text)
    taken = tab._take_settings(Settings(fields_of(parameters), parameters, None), VISITOR, [])
    seen = show(tab, taken)
    assert [seen[f"unit-{n}-source"] for n in (1, 2, 3)] == ["itself", "another", "nothing"]
    with pytest.raises(BadRequest, match="Picture 2 to follow is empty"):
        follow(tab, taken)
    (first, second) = follow(tab, taken, **{"unit-2-canvas": MASK})
    assert (first["picture"], first["preprocessor"], first["weight"]) == (PICTURE, "canny", 0.7)
    assert (second["picture"], second["crop_along"], second["end"]) == (MASK, True, 0.5)
    # Other studios follow the picture that is changed, unless they are given another.
    foreign = parse_parameters(
        "a red mug\nSteps: 20, Sampler: Euler, Seed: 4, Denoising strength: 0.6, "
        'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b]"'
    )
    taken = tab._take_settings(Settings(fields_of(foreign), foreign, None), VISITOR, [])
    assert show(tab, taken)["unit-1-source"] == "itself"


def test_a_unit_follows_the_picture_as_it_is_fitted_and_nothing_is_asked_without_one(tab):
    assert tab.data(values(tab, canvas=PICTURE))["units"] == []
    (unit,) = tab.data(
        values(tab, canvas=PICTURE, fit="pad", **{"unit-1-source": "itself",
               "unit-1-model": STARTER_NET, "unit-1-canvas": UNSENT})
    )["units"]  # fmt: skip
    assert (unit["picture"], unit["resize_mode"], unit.get("crop_along")) == (PICTURE, "pad", None)


def test_a_drawing_that_is_sent_is_painted_over_and_still_followed(tab):
    unit = ControlUnit(picture=PICTURE, model=STARTER_NET, weight=0.5).model_dump()
    taken = tab._take_drawing({"prompt": "a red mug", "units": [unit]}, VISITOR, [])
    assert len(taken) == len(tab.outputs) + 1
    assert taken[tab.outputs.index(tab.canvas)] == PICTURE
    (found,) = follow(tab, taken)
    assert (found["picture"], found["weight"]) == (PICTURE, 0.5)
