"""ControlNet lines: written as A1111's extension writes them, read back leniently."""

from __future__ import annotations

import json
import time

import pytest

from pipelines.core.errors import validate
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import ControlRequest, ControlUnit
from pipelines.preprocessors.registry import PREPROCESSORS
from studio.core.gallery.infotext_units import (
    _MODULES,
    _titles,
    is_unit_name,
    unit_lines,
    units_of,
    unused_lines,
    unused_values,
)
from studio.core.gallery.metadata import format_parameters, parameters_of, parse_parameters
from studio.core.gallery.reuse import fields_of
from tests.patience import PROMPTLY

PICTURE = "0123456789abcdef" * 2


@pytest.fixture
def control(tmp_path):
    """A catalog with the shipped models and two folders of one's own, one with an odd name."""
    for name in ("mine", "soft, edges: 2"):
        folder = tmp_path / "control" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"_class_name": "T2IAdapter"}))
        (folder / "weights.safetensors").write_bytes(b"\0" * 16)
    return ControlCatalog(tmp_path)


def unit(**fields) -> ControlUnit:
    return ControlUnit(**{"picture": PICTURE, "model": "mine", **fields})


def text_of(*units: ControlUnit, size=(512, 768)) -> str:
    request = ControlRequest(prompt="a house", steps=20, seed=1, sampler="Euler", units=units)
    return format_parameters(parameters_of(request.model_dump(mode="json"), size))


def test_the_line_is_the_one_that_the_extension_writes():
    written = unit(preprocessor="canny", parameters={"low": 50}, weight=0.7, end=0.5)
    assert text_of(written).splitlines()[-1].startswith("Steps: 20, Sampler: Euler, Seed: 1,")
    assert (
        'ControlNet 0: "Module: canny, Model: mine, Weight: 0.7, Resize Mode: Crop and Resize, '
        "Processor Res: 512, Threshold A: 50, Threshold B: 200, Guidance Start: 0.0, "
        'Guidance End: 0.5, Pixel Perfect: True, Control Mode: Balanced"'
    ) in text_of(written)


def test_a_resolution_of_its_own_is_not_pixel_perfect():
    parameters = {"resolution": 384, "near": 3, "far": 60}
    line = unit_lines([unit(preprocessor="depth_leres", parameters=parameters).model_dump()],
                      (512, 512))["ControlNet 0"]  # fmt: skip
    assert "Processor Res: 384, Threshold A: 3, Threshold B: 60," in line
    assert "Pixel Perfect: False" in line


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("resize_mode", "stretch", "Resize Mode: Just Resize"),
        ("resize_mode", "pad", "Resize Mode: Resize and Fill"),
        ("control_mode", "prompt", "Control Mode: My prompt is more important"),
        ("control_mode", "control", "Control Mode: ControlNet is more important"),
    ],
)
def test_modes_have_the_extension_s_words(field, value, words):
    assert words in text_of(unit(**{field: value}))


@pytest.mark.parametrize("along", [None, True, False])
def test_whether_a_unit_is_cropped_along_is_written_where_it_was_chosen(control, along):
    text = text_of(unit(crop_along=along))
    assert text.count("Crop Along: ") == text.count(f"Crop Along: {along}") == (along is not None)
    (read,) = units_of(parse_parameters(text), control)
    assert read.get("crop_along") is along


# For each preprocessor, a value that is not the default for each of its parameters.
@pytest.mark.parametrize("name", PREPROCESSORS)
def test_every_preprocessor_s_settings_come_back(control, name):
    model = PREPROCESSORS[name].parameters
    other = {
        field: not default if isinstance(default, bool) else default + 1
        for field, default in model().model_dump().items()
    }
    written = unit(preprocessor=name, parameters=other, weight=0.35, start=0.1, end=0.9,
                   resize_mode="pad", control_mode="control", crop_along=True)  # fmt: skip
    expected = written.model_dump(mode="json", exclude={"picture"})
    assert units_of(parse_parameters(text_of(written)), control) == [expected]


def test_names_of_parameters_are_no_names_of_the_line():
    fixed = {"Module", "Model", "Weight", "Resize Mode", "Guidance Start", "Guidance End",
             "Pixel Perfect", "Control Mode", "Crop Along"}  # fmt: skip
    for preprocessor in PREPROCESSORS.values():
        titles = list(_titles(preprocessor.parameters).values())
        assert not fixed & set(titles), preprocessor.name
        assert len(titles) == len(set(titles)), preprocessor.name


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("control_v11p_sd15_canny [d14c016b]", "sd15-controlnet-canny"),
        ("control_v11p_sd15_canny", "sd15-controlnet-canny"),
        ("control_v11p_sd15_scribble_fp16 [4e6af23e]", "sd15-controlnet-scribble"),
        ("control_v11f1e_sd15_tile [a371b31b]", "sd15-controlnet-tile"),
        ("t2iadapter_sketch-fp16 [75b15924]", "sd1-adapter-sketch"),
        ("t2i-adapter-lineart-sdxl-1.0 [0a1b2c3d]", "sdxl-adapter-lineart"),
        ("mine [01234567]", "mine"),
        ("sd15-controlnet-canny", "sd15-controlnet-canny"),
        ("control_canny-fp16 [e3fe7712]", None),
        ("None", None),
        ("[d14c016b]", None),
        ("", None),
    ],
)
def test_models_go_by_the_names_of_their_files(theirs, ours, control):
    (read,) = units_of({"ControlNet 0": f"Module: canny, Model: {theirs}"}, control)
    assert read.get("model") == ours


def test_every_shipped_model_comes_back_by_the_name_that_it_has_elsewhere(control):
    for entry in control.models():
        (read,) = units_of(parse_parameters(text_of(unit(model=entry.name))), control)
        assert read["model"] == entry.name
    assert "Model: control_v11p_sd15_canny," in text_of(unit(model="sd15-controlnet-canny"))
    assert "Model: control_v11f1e_sd15_tile," in text_of(unit(model="sd15-controlnet-tile"))
    assert "Model: starter-controlnet-depth," in text_of(unit(model="starter-controlnet-depth"))
    assert "Model: sdxl-controlnet-canny-xinsir," in text_of(  # a repository's name that two have
        unit(model="sdxl-controlnet-canny-xinsir")
    )


@pytest.mark.parametrize(
    ("theirs", "ours", "parameters"),
    [
        ("none", "none", {}),
        ("canny", "canny", {"low": 50, "high": 90}),
        ("depth_anything_v2", "depth_anything", {}),
        ("depth_leres++", "depth_leres", {"near": 50, "far": 90}),
        ("depth_midas", "depth_midas", {}),
        ("depth", "depth_midas", {}),  # not the starter's
        ("softedge_hedsafe", "softedge_hed", {"safe": True}),
        ("softedge_pidisafe", "softedge_pidinet", {"safe": True}),
        ("dw_openpose_full", "dwpose", {"hands": True, "face": True}),
        ("openpose_hand", "openpose", {"hands": True, "face": False}),
        ("seg_ofade20k", "seg_upernet", {}),
        ("tile_resample", "none", {}),
        ("invert (from white bg & black line)", "lineart", {}),
        ("lineart_coarse", "lineart_hub", {"coarse": True}),
        ("lineart", "lineart_hub", {"coarse": False}),  # not OpenCV's
        ("lineart_anime", "lineart_anime", {}),
        ("scribble_hed", "scribble_hed", {}),
        ("scribble_xdog", "scribble", {}),
        ("t2ia_sketch_pidi", "sketch_pidinet", {}),
        ("shuffle", "shuffle", {}),
        ("canny (Canny edges)", "canny", {"low": 50, "high": 90}),
        ("softedge_hedsafe (软边缘）", "softedge_hed", {"safe": True}),
    ],
)
def test_modules_of_the_extension_are_read_as_what_reads_the_same(
    theirs, ours, parameters, control
):
    line = f"Module: {theirs}, Model: mine, Threshold A: 50, Threshold B: 90"
    (read,) = units_of({"ControlNet 0": line, "Version": "v1.10.1"}, control)
    assert (read["preprocessor"], read["parameters"]) == (ours, parameters)
    assert unused_lines({"ControlNet 0": line}, control) == set()


def test_every_module_that_is_known_is_one_of_ours():
    for name, parameters in _MODULES.values():
        validate(PREPROCESSORS[name].parameters, parameters)


@pytest.mark.parametrize(
    "line",
    [
        "Module: mlsd, Model: mine",
        "Module: seg_ofcoco, Model: mine",
        "Module: openpose_faceonly, Model: mine",
        "Module: depth_hand_refiner, Model: mine",
        "Module: canny, Model: of somebody [0123abcd]",
        "Module: reference_only, Model: None",
        "Module: canny",
        "",
    ],
)
def test_a_line_whose_module_or_model_is_not_here_is_named(line, control):
    assert unused_lines({"ControlNet 0": line, "Steps": "20"}, control) == {"ControlNet 0"}


def test_more_lines_than_there_are_units_are_named(control):
    lines = {f"ControlNet {number}": "Module: canny, Model: mine" for number in range(12)}
    assert unused_lines(lines, control) == {f"ControlNet {number}" for number in range(3, 12)}


def test_the_pictures_own_resolution_is_pixel_perfect(control):
    written = unit(preprocessor="depth_midas", parameters={"resolution": 0})
    assert "Processor Res: 512," in text_of(written)
    assert "Pixel Perfect: True," in text_of(written)
    (read,) = units_of(parse_parameters(text_of(written)), control)
    assert read["parameters"] == {"resolution": 0}


def test_three_units_come_back_in_their_order_beside_the_other_settings(control):
    modules = ("canny", "lineart", "none")
    parameters = parse_parameters(text_of(*(unit(preprocessor=name) for name in modules)))
    assert [each["preprocessor"] for each in units_of(parameters, control)] == list(modules)
    assert fields_of(parameters)["steps"] == 20
    assert parameters["prompt"] == "a house"


def test_a_model_with_commas_and_colons_in_its_name_comes_back(control):
    parameters = parse_parameters(text_of(unit(model="soft, edges: 2")))
    assert parameters["ControlNet 0"].count("Model: soft edges 2,") == 1
    assert units_of(parameters, control)[0]["model"] == "soft, edges: 2"


def test_a_line_of_another_studio_is_read_as_far_as_it_goes(control):
    line = (
        "Module: lineart_realistic, Model: control_v11p_sd15_lineart [43d4be0d], Weight: 0.75, "
        "Resize Mode: Scale to Fit (Inner Fit), Low Vram: False, Processor Res: 512, "
        "Guidance Start: 0, Guidance End: 0.77, Pixel Perfect: True, Control Mode: Balanced, "
        "Save Detected Map: True"
    )
    assert units_of({"ControlNet 0": line}, control) == [
        {
            "weight": 0.75,
            "resize_mode": "crop",
            "start": 0.0,
            "end": 0.77,
            "control_mode": "balanced",
            "model": "sd15-controlnet-lineart",
            "preprocessor": "lineart_hub",
            "parameters": {"coarse": False, "resolution": 0},
        }
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        ",,,::::",
        "Weight: nan, Guidance Start: 7, Control Mode: <b>loud</b>, Module: ../../etc, Model: x",
        "Module: canny, Threshold A: many, Threshold B: 9999",
        "Module: " + "x" * 100_000,
        "Guidance Start: 1.0",
    ],
)
def test_what_no_unit_takes_is_left_out(control, line):
    for read in units_of({"ControlNet 0": line}, control):
        assert read.get("parameters", {}) == {}
        assert not {"weight", "start", "model", "control_mode"} & set(read)


def test_a_start_after_the_end_is_left_out(control):
    (read,) = units_of({"ControlNet 0": "Guidance Start: 0.8, Guidance End: 0.2"}, control)
    assert read == {"start": 0.8}


def read_lines(control, **parameters):
    names = {name.replace("_", " "): value for name, value in parameters.items()}
    return units_of(names, control), unused_lines(names, control), unused_values(names, control)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("ResizeMode.RESIZE", "stretch"),
        ("ResizeMode.INNER_FIT", "crop"),
        ("ResizeMode.OUTER_FIT", "pad"),
        ("Resize and fill", "pad"),
        ("0", "stretch"),
        ("2", "pad"),
    ],
)
def test_resize_modes_are_read_by_the_names_of_the_enumeration_too(theirs, ours, control):
    line = f"Module: canny, Model: mine, Resize Mode: {theirs}, Control Mode: ControlMode.CONTROL"
    units, unused, values = read_lines(control, ControlNet_0=line)
    assert (units[0]["resize_mode"], units[0]["control_mode"]) == (ours, "control")
    assert (unused, values) == (set(), {})


def test_the_line_of_2023_is_read(control):
    line = (
        "preprocessor: canny, model: control_v11p_sd15_canny [d14c016b], weight: 0.6, "
        "starting/ending: (0.1, 0.9), resize mode: Resize and Fill, pixel perfect: False, "
        "control mode: My prompt is more important, preprocessor params: (384, 50, 90)"
    )
    expected = {
        "model": "sd15-controlnet-canny",
        "weight": 0.6,
        "resize_mode": "pad",
        "start": 0.1,
        "end": 0.9,
        "control_mode": "prompt",
        "preprocessor": "canny",
        "parameters": {"low": 50, "high": 90},
    }
    for name in ("ControlNet 0", "ControlNet", "Controlnet 0", "ControlNet 1"):
        assert units_of({name: line}, control) == [expected]
        assert is_unit_name(name)


@pytest.mark.parametrize("prefix", ["ControlNet-0", "ControlNet"])
def test_values_that_stand_alone_are_gathered_into_a_unit(prefix, control):
    text = (
        f"a house\nSteps: 20, Sampler: Euler, Seed: 1, {prefix} Enabled: True, "
        f"{prefix} Module: hed, {prefix} Model: mine [13fee50b], {prefix} Weight: 0.5, "
        f"{prefix} Guidance Start: 0.2, {prefix} Guidance End: 0.7"
    )
    assert units_of(parse_parameters(text), control) == [
        {
            "model": "mine",
            "weight": 0.5,
            "start": 0.2,
            "end": 0.7,
            "preprocessor": "softedge_hed",
            "parameters": {"safe": False},
        }
    ]
    assert unused_lines(parse_parameters(text), control) == set()
    off = text.replace("Enabled: True", "Enabled: False")
    assert units_of(parse_parameters(off), control) == []


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("Module: canny, Model: mine, Resize Mode: Somehow", ["Resize Mode"]),
        (
            "Module: canny, Model: mine, Weight: 1.35-1.5, Control Mode: x",
            ["Weight", "Control Mode"],
        ),
        ("preprocessor: canny, model: mine, starting/ending: (0.9, 0.1)", ["Guidance End"]),
        (
            "preprocessor: canny, model: mine, starting/ending: (a",
            ["Guidance Start", "Guidance End"],
        ),
        ("Module: canny, Model: mine, Crop Along: maybe", ["Crop Along"]),
        ("Module: canny, Model: mine, Weight: 1", None),
        ("Module: canny, Model: of somebody, Weight: many", None),  # unused as a whole
    ],
)
def test_values_that_cannot_be_used_are_named_beside_their_line(line, left, control):
    _, _, values = read_lines(control, ControlNet_0=line)
    assert values == ({"ControlNet 0": left} if left else {})


@pytest.mark.parametrize("piece", [" ", "[0", "(", "(,", "-fp16", " [", ",:", "\t", "[0] "])
def test_reading_a_line_takes_time_in_proportion_to_it(piece, control):
    line = f"Module: canny, Model: x{piece * (160_000 // len(piece))}[0a]!"
    start = time.perf_counter()
    units_of({"ControlNet 0": line}, control)
    assert time.perf_counter() - start < PROMPTLY, "it took 106 s for blanks"


def test_thousands_of_lines_cost_no_more_than_three(control, monkeypatch):
    asked = []
    models = control.models()
    monkeypatch.setattr(control, "models", lambda: asked.append(1) or models)
    lines = {f"ControlNet {number}": "Module: canny, Model: mine" for number in range(20_000)}
    assert len(unused_lines(lines, control)) == 19_997
    assert len(asked) <= 3
