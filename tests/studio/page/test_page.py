"""The page as it is built: labels in both languages, controls from the requests' fields."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.i18n import I18nData

from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.lora.record import LoraRecord
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.models.catalog import Catalog
from pipelines.preprocessors.registry import PREPROCESSORS
from pipelines.upscaling.catalog import Upscalers
from studio.core.accounts.accounts import Owner
from studio.core.exchange import PICTURES, Settings, buttons
from studio.core.feature import Feature, Features, Tab
from studio.core.gallery.metadata import parse_parameters
from studio.core.gallery.reuse import fields_of
from studio.core.settings import StoredSettings
from studio.core.store import Store
from studio.features import load_features
from studio.features.from_picture import several
from studio.features.gallery import tools
from studio.features.painting import grid_tab as grid
from studio.i18n import texts
from studio.page import shell
from studio.page.components import canvas
from studio.page.components.paint_form import PaintForm
from studio.page.tab_events import (
    BROUGHT,
    BROUGHT_WITH_WORDS,
    FILLED,
    UNFILLED,
    TabEvents,
)
from studio.page.widgets import Visitor, from_field

MARKER = re.compile(r"__i18n__(\{.*?\})")
SPOKEN = ("label", "info", "placeholder")
VISITOR = Visitor(Owner("local", "you", is_host=True), "en")
CLAY = LoraRecord(id="0" * 32, owner="local", name="clay", family="starter")
FEATURES = load_features()
SILENT = ("state", "timer", "html")  # they have labels that nobody sees


def keys_in(part: object) -> Iterator[str]:
    """The keys of all labels in a piece of the page's configuration."""
    if isinstance(part, I18nData):
        yield part.key
    elif isinstance(part, str):
        yield from (json.loads(marker)["key"] for marker in MARKER.findall(part))
    elif isinstance(part, dict | list | tuple):
        for piece in part.values() if isinstance(part, dict) else part:
            yield from keys_in(piece)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """What the page needs to be built; its events need more."""
    home = tmp_path_factory.mktemp("home")
    store = Store(home)
    yield SimpleNamespace(
        home=home,
        catalog=Catalog(home),
        control=ControlCatalog(home),
        upscalers=Upscalers(home),
        settings=StoredSettings(store),
        loras=SimpleNamespace(list=lambda owner: [CLAY], models=lambda owner: []),
        trainings=None,
        prunings=None,
        features=FEATURES,
        find=lambda name: None,  # of services that a feature brings
    )
    store.close()


@pytest.fixture(scope="module")
def config(studio) -> dict:
    return shell.build(studio).get_config_file()


def test_a_tab_that_fails_is_left_out_and_the_page_has_the_others():
    class Whole(Tab):
        id, label = "whole", "Whole"

    class Torn(Tab):
        id, label = "torn", "Torn"

        def draw(self):
            gr.Textbox()
            raise ValueError("no canvas")

    class Deaf(Tab):
        id, label = "deaf", "Deaf"

        def listen(self, events, exchange):
            raise ValueError("no ears")

    tabs = {"a": Torn, "b": Whole, "c": Deaf}
    features = Features([Feature(name=name, tabs=(tab,)) for name, tab in tabs.items()])
    config = shell.build(SimpleNamespace(features=features)).get_config_file()
    ids = [c["props"]["id"] for c in config["components"] if c["type"] == "tabitem"]
    assert ids == ["whole"]
    assert [m.values["error"] for m in features.failures.values()] == ["no canvas", "no ears"]


def test_tabs_of_a_group_stand_together_and_a_tab_is_shown_within_it():
    class Alone(Tab):
        id, label = "alone", "Alone"

    class One(Tab):
        id, label, group = "one", "One", "A few"

    class Other(Tab):
        id, label, group, former_ids = "other", "Other", "A few", ("elder",)

    class Single(Tab):
        id, label, group = "single", "Single", "Nobody else"

    features = Features(
        [
            Feature(name="a", tabs=(Alone, One)),
            Feature(name="b", tabs=(Single, Other)),
        ]
    )
    assert [(place.id, place.label) for place in features.places()] == [
        ("alone", "Alone"),
        ("a-few", "A few"),
        ("single", "Nobody else"),
    ]
    assert features.tab_names() == {"alone", "one", "other", "single", "a-few", "elder"}
    config = shell.build(SimpleNamespace(features=features)).get_config_file()
    parts = {part["id"]: part["props"] for part in config["components"]}
    (main,) = (node for node in config["layout"]["children"] if parts[node["id"]].get("selected"))
    assert [parts[tab["id"]]["id"] for tab in main["children"]] == ["alone", "a-few", "single"]
    (inner,) = main["children"][1]["children"]
    assert [parts[tab["id"]]["id"] for tab in inner["children"]] == ["one", "other"]
    assert (parts[main["id"]]["selected"], parts[inner["id"]]["selected"]) == ("alone", "one")
    assert config["former_tabs"] == {"elder": "other"}

    bars = shell.Bars()
    with gr.Blocks(), bars.add("main", "first"):
        with bars.tab("first", "First"):
            pass
        with bars.tab("second", "Second"), bars.add("inner", "deep"), bars.tab("deep", "Deep"):
            pass
    chosen = [update.get("selected") for update in bars.show("deep")]
    assert chosen == ["second", "deep"]
    assert [update.get("selected") for update in bars.show("first")] == ["first", None]


def test_what_is_sent_from_tab_to_tab_shows_the_other_tab(config):
    names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    bars = {id for id, name in names.items() if name in ("tabs", "tabs-of-text-to-image")}
    assert len(bars) == 2
    senders = {
        names[target]
        for event in config["dependencies"]
        if bars <= {*event["outputs"]}
        for target, _ in event["targets"]
    }
    kept = {"larger", "painted", "changed", "steered", "tried", "compare", "gallery"}
    ways = {
        f"{name}-{way}"
        for name in kept
        for way in ("use", "compare", "steer", "change", "vary", "fix", "larger")
    }
    dropped = {"dropped-use", "dropped-compare"}  # a file is no picture of the gallery
    assert senders == ways | dropped | {
        *("try-paint", "library-cards", "shorten-panel", "gallery-tools", "steer-change"),
    }


def test_every_label_follows_the_readers_language(config):
    spoken = [
        value
        for component in config["components"]
        for name in SPOKEN
        if component["type"] not in SILENT and (value := component["props"].get(name))
    ]
    assert len(spoken) > 40
    assert [text for text in spoken if not isinstance(text, I18nData)] == []


def test_every_button_follows_the_readers_language(config):
    buttons = [c["props"]["value"] for c in config["components"] if c["type"] == "button"]
    assert len(buttons) > 10
    assert [text for text in buttons if not MARKER.fullmatch(text)] == []


def test_every_key_in_the_page_has_a_chinese_text(config):
    keys = set(keys_in(config["components"]))
    assert len(keys) > 60
    assert keys <= shell.labels("zh", FEATURES).keys()


def test_english_and_chinese_labels_have_the_same_keys():
    assert shell.labels("en", FEATURES).keys() == shell.labels("zh", FEATURES).keys()


def test_no_label_needs_values():
    """The browser's formatter would read a brace as the start of a value."""
    assert not [text for text in shell.labels("zh", FEATURES).values() if "{" in text]


def test_words_of_preprocessors_and_the_canvas_have_a_chinese_text():
    words = set(canvas.WORDS.values())
    for preprocessor in PREPROCESSORS.values():
        fields = preprocessor.parameters.model_fields.values()
        words |= {preprocessor.title, preprocessor.description}
        words |= {text for field in fields for text in (field.title, field.description)}
    assert words - texts("zh").keys() == set()


def test_words_of_the_gallery_s_tools_and_of_several_pictures_have_a_chinese_text():
    sent = {target.button for target in buttons(FEATURES.tabs(), (PICTURES,))}
    words = {*tools.WORDS.values(), *several.WORDS.values(), *sent}
    assert sent
    assert words - texts("zh").keys() == set()


def test_descriptions_of_models_have_a_chinese_text(studio):
    shipped = [entry.description for entry in studio.catalog.models() if entry.description]
    assert [text for text in shipped if text not in texts("zh")] == []


@pytest.mark.parametrize(
    ("name", "low", "high", "step"),
    [("steps", 1, 150, 1), ("width", 64, 2048, 8), ("guidance_rescale", 0, 1, 0.05)],
)
def test_sliders_have_the_bounds_of_the_request(name, low, high, step):
    slider = from_field(TextToImageRequest, name)
    assert isinstance(slider, gr.Slider)
    assert (slider.minimum, slider.maximum, slider.step) == (low, high, step)


def test_no_event_is_offered_as_an_endpoint(config):
    assert {event["api_visibility"] for event in config["dependencies"]} == {"private"}


def test_no_control_s_shared_event_keeps_the_newest_for_after(config):
    """Gradio would send it to all its listeners again, and two of them start one another for ever.

    A state's change is sent to each listener by itself; what only runs in the browser never waits.
    """
    states = {c["id"] for c in config["components"] if c["type"] == "state"}
    newest = [
        event
        for event in config["dependencies"]
        if event["trigger_mode"] == "always_last" and event["backend_fn"]
    ]
    assert len(newest) > 5
    listening = Counter(
        tuple(target) for event in config["dependencies"] for target in event["targets"]
    )
    own = [
        target
        for event in newest
        if event["trigger_after"] is None
        for target in map(tuple, event["targets"])
        if target[0] not in states and listening[target] > 1
    ]
    assert own == []


@pytest.fixture
def form(studio) -> PaintForm:
    with gr.Blocks():
        form = PaintForm(studio)
        form.draw_prompt()
        form.draw_rest()
    return form


def test_form_opens_with_the_models_own_settings(form, studio):
    values = {name: control.value for name, control in form.controls.items()}
    entry = studio.catalog.get("starter-256")
    loras = [control.value for control in form.inputs[len(values) :]]
    data = form.data([*values.values(), *loras])
    assert data["steps"] == entry.defaults.steps
    assert data["sampler"] == entry.defaults.sampler
    assert data["width"] == data["height"] == entry.native_size
    assert data["loras"] == []


def fill_form(form: PaintForm, fields: dict) -> dict:
    """Control's name → its update; of the LoRAs' rows in the order of their numbers."""
    names = [*form.controls, *(each.elem_id for each in form.inputs[len(form.controls) :])]
    return dict(zip(names, form.fill(fields, VISITOR), strict=False))


def test_sliders_of_sides_stop_at_sizes_that_the_model_paints(form, monkeypatch):
    assert {form.controls[side].step for side in ("width", "height")} == {16}
    for model, step in (("sd15", 8), ("starter-256", 16), ("starter", 8)):
        updates = fill_form(form, {"model": model})
        assert {updates[side]["step"] for side in ("width", "height")} == {step}
    of_model = [each.elem_id for each in form._of_model()]
    monkeypatch.setattr(Visitor, "of", lambda request: VISITOR)
    chosen = form._model_chosen("sd15", None)
    assert chosen[of_model.index("width")]["step"] == 8


def test_models_that_only_edit_are_offered_where_a_picture_is_kept(form, studio):
    edits = next(entry for entry in studio.catalog.models() if entry.edits_only)
    fields = {"prompt": "make it blue", "model": edits.name, "from_picture": {"picture": "0" * 32}}
    with gr.Blocks():
        keeping = PaintForm(studio, "kept-", keeps_picture=True)
        keeping.draw_prompt()
        keeping.draw_rest()
    assert fill_form(keeping, fields)["model"]["value"] == edits.name
    for other, asked in ((keeping, fields | {"from_picture": None}), (form, fields)):
        assert "value" not in fill_form(other, asked).get("model", {})


def test_filling_the_form_keeps_what_is_not_given(form):
    updates = fill_form(form, {"prompt": "a cat", "seed": 7})
    assert updates["prompt"]["value"] == "a cat"
    assert updates["seed"]["value"] == 7
    assert "value" not in updates["steps"]


def test_filling_the_form_with_a_model_that_is_not_here_keeps_the_chosen_one(form):
    updates = fill_form(form, {"model": "gone", "steps": 9})
    assert "value" not in updates["model"]
    assert updates["steps"]["value"] == 9
    assert form.fill({"model": "gone"}, VISITOR)[-1] == gr.skip()


def test_a_model_that_is_filled_in_brings_what_is_said_of_it(form):
    assert form.outputs[-1].elem_id == "about-model"
    assert "Paints toys" in form.fill({"model": "starter-256"}, VISITOR)[-1]
    assert len(form.fill({"model": "starter-256"}, VISITOR)) == len(form.outputs)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (UNFILLED, ["offered", "words", 3]),
        (BROUGHT, [gr.skip(), "words", 3]),  # a picture was sent here before the tab was ever seen
        (BROUGHT_WITH_WORDS, [gr.skip(), gr.skip(), 3]),
        (FILLED, [gr.skip()] * 3),
    ],
)
def test_a_tab_fills_what_nothing_was_sent_to(monkeypatch, stage, expected):
    listeners = []

    def load(function, *_, **__) -> dict:
        listeners.append(function)
        return {"id": 1}

    page = SimpleNamespace(load=load, first_sights={}, fills=set())
    canvas_shown, prompt, steps = gr.HTML(), gr.HTML(), gr.HTML()
    events = TabEvents(page, SimpleNamespace(_id=3))
    events.fill(
        lambda visitor: ["offered", "words", 3],
        [canvas_shown, prompt, steps],
        pictures=[canvas_shown],
        words=[prompt],
    )
    monkeypatch.setattr(Visitor, "of", lambda request: VISITOR)
    assert listeners[0](stage, None) == expected


def test_filling_the_form_offers_only_schedules_that_fit_the_sampler(form):
    fields = {"model": "starter", "sampler": "DDIM", "schedule": "SGM Uniform"}
    updates = fill_form(form, fields)
    assert updates["schedule"]["choices"] == ["Uniform", "SGM Uniform"]
    assert updates["schedule"]["value"] == "SGM Uniform"
    assert updates["eta"]["visible"] is True


def test_loras_are_filled_in_but_for_those_that_the_prompt_names(form):
    uses = [{"name": "clay", "weight": 0.5}, {"name": "gone", "weight": 1.0}]
    updates = fill_form(form, {"prompt": "a cat", "loras": uses})
    assert (updates["lora-1"]["value"], updates["lora-weight-1"]["value"]) == ("clay", 0.5)
    assert updates["lora-2"]["value"] == ""  # has left the library
    updates = fill_form(form, {"prompt": "a cat <lora:CLAY:0.3>", "loras": uses})
    assert updates["lora-1"]["value"] == ""


def test_a_lora_of_two_weights_is_filled_in_as_a_tag(form):
    uses = [{"name": "clay", "weight": 0.5, "text_weight": 0.8}]
    updates = fill_form(form, {"prompt": "a cat", "loras": uses})
    assert updates["prompt"]["value"] == "a cat <lora:clay:0.8:0.5>"
    assert updates["lora-1"]["value"] == ""


def test_two_rows_with_the_same_lora_are_one_use(form):
    rows = ["clay", 0.5, "", 1.0, "clay", 0.8, "", 1.0]
    before = len(form.inputs) - len(form._loras.inputs)
    values = [control.value for control in form.inputs[:before]]
    rows = [*rows, *[control.value for control in form._loras.inputs[len(rows) :]]]
    assert form.data([*values, *rows])["loras"] == [{"name": "clay", "weight": 0.8}]


def test_parts_that_are_off_are_no_part_of_the_request_and_a_prompt_puts_them_off(form):
    values = {control.elem_id: control.value for control in form.inputs}
    assert form.data(list(values.values()))["hires"] is None
    assert form.data(list(values.values()))["variation"] is None
    values |= {"hires-on": True, "hires-upscaler": "Nearest", "hires-steps": None,
               "variation-strength": 0.2, "variation-width": None}  # fmt: skip
    data = form.data(list(values.values()))
    expected = {"scale": 2.0, "strength": 0.7, "upscaler": "Nearest", "extra_noise": 0.0}
    assert data["hires"] == expected
    assert data["variation"] == {"seed": -1, "strength": 0.2}
    updates = fill_form(form, {"prompt": "a cat"})
    assert updates["hires-on"]["value"] is False
    assert updates["variation-strength"]["value"] == 0
    hires = {"scale": 3.0, "upscaler": "4x that is not here", "sampler": None}
    updates = fill_form(form, {"prompt": "a cat", "hires": hires})
    assert updates["hires-on"]["value"] is True
    assert updates["hires-scale"]["value"] == 3.0
    assert updates["hires-upscaler"]["value"] == "Lanczos"
    assert updates["hires-model"]["value"] == ""
    entry = form.studio.catalog.get("starter")
    for named in (entry.name, entry.title):  # files name one's own models by their titles
        updates = fill_form(form, {"prompt": "a cat", "hires": {"model": named}})
        assert updates["hires-model"]["value"] == "starter"
    assert updates["hires-sampler"]["value"] == ""


# --- grids -------------------------------------------------------------------------------------


@pytest.fixture
def grid_tab(studio) -> grid.GridTab:
    with gr.Blocks():
        tab = grid.GridTab(studio)
        tab.draw()
        return tab


def grid_data(tab: grid.GridTab, axes: list[str], parts: dict) -> dict:
    hidden = [each.value for each in tab.form.inputs]
    return tab.data([*hidden, *axes, parts])


def test_the_axes_of_the_page_are_those_of_the_request(grid_tab):
    made = grid_data(grid_tab, ["steps", "1, 2", "", "", " loras[0].weight", "1"], {"units": [1]})
    assert (made["x"], made["y"]) == (
        {"field": "steps", "values": "1, 2"},
        {"field": "loras[0].weight", "values": "1"},
    )
    assert "z" not in made
    assert made["base"]["units"] == [1]
    assert made["base"]["schedule"]
    made = grid_data(grid_tab, ["sampler", "Euler, DDIM", "", "", "", ""], {})
    assert made["base"]["schedule"] is None  # each sampler's own
    made = grid_data(grid_tab, ["sampler", "Euler", "schedule", "Karras", "", ""], {})
    assert made["base"]["schedule"]


def test_a_sheet_brings_its_axes_and_a_comparison_of_old_brings_its_own(grid_tab):
    read = parse_parameters(
        "a mug\nSteps: 2, Seed: 1, Size: 64x64, Script: X/Y/Z plot, X Type: CFG Scale, "
        'X Values: "1, 2", Y Type: Nonsense, Y Values: 3'
    )
    updates = grid_tab._take(Settings(fields_of(read), read, None), VISITOR, [])
    shown = updates[len(grid_tab.form.outputs) :]
    assert shown[:6] == ["guidance", "1, 2", "", "", "", ""]
    old = {"base": {"prompt": "x"}, "samplers": ["Euler", "DDIM"], "steps": [1, 2]}
    assert grid_tab._open(old, VISITOR)[:4] == ["steps", "1, 2", "sampler", "Euler, DDIM"]
