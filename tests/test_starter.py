"""The model that ships with Atelier: it is there, it paints, and it paints the same every time."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image, ImageDraw

from pipelines.core.cache import ModelCache
from pipelines.core.events import Picture, Progress
from pipelines.core.paths import ASSETS
from pipelines.core.pictures.inputs import keep_input
from pipelines.core.quiet_openvino import openvino
from pipelines.diffusion.control import paint
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.openvino.starter_topologies import without_hint_encoder
from pipelines.diffusion.openvino.steering import controlnet_to_convert, steered_unet_to_convert
from pipelines.diffusion.openvino.topology import (
    convert,
    topology_of,
    without_origin,
    write_network,
)
from pipelines.diffusion.openvino.unet import unet_to_convert
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import run
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from pipelines.toybox.vocabulary import HELD_OUT, TRAINED
from tests.prepared import prepared_folder

STARTER = ASSETS / "starter"
SKETCH = "starter-controlnet-sketch"
ROOT = Path(__file__).parents[1]
FEW = {"seed": 5, "steps": 4, "width": 64, "height": 64, "sampler": "Euler a"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty home folder but for the networks that earlier runs have converted."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    converted = prepared_folder("starter", "pipelines/diffusion/openvino/*.py")
    (home / "models" / ".openvino").symlink_to(converted, target_is_directory=True)
    return home


@pytest.fixture(scope="module")
def cache(home) -> ModelCache:
    return _cache_in(home, budget_bytes=2**31)


@pytest.fixture(scope="module")
def maps(home) -> dict[str, str]:
    """A sketch and a depth map of one box, as ids of brought-in pictures."""
    sketch, depth = Image.new("RGB", (128, 128)), Image.linear_gradient("L").resize((128, 128))
    ImageDraw.Draw(sketch).rectangle((30, 50, 90, 110), outline="white", width=3)
    depth = depth.point(lambda value: value // 2).convert("RGB")
    ImageDraw.Draw(depth).rectangle((30, 50, 90, 110), fill=(220, 220, 220))
    named = {"sketch": sketch, "depth": depth}
    return {name: keep_input(home, "local", picture) for name, picture in named.items()}


def _cache_in(home: Path, budget_bytes: int) -> ModelCache:
    loader = Loader(Catalog(home), home, offline=True, budget_bytes=budget_bytes)
    return ModelCache(loader.load, "cpu", budget_bytes)


def _events(cache, units=(), **settings):
    fields = {"prompt": "a red mug on a wooden floor", "model": "starter", "steps": 8} | settings
    if units:
        return list(paint.run(ControlRequest(**fields, units=units), cache, threading.Event()))
    return list(run(TextToImageRequest(**fields), cache, threading.Event()))


def _paint(cache, units=(), **settings):
    events = _events(cache, units, **settings)
    pictures = [np.asarray(event.image, int) for event in events if isinstance(event, Picture)]
    return pictures, [event for event in events if isinstance(event, Progress)]


def _psnr(one, other) -> float:
    return -10 * np.log10(np.square(one - other).mean() / 255**2 + 1e-12)


def test_it_paints_at_its_native_size_with_a_preview_at_every_step(cache):
    (picture,), progress = _paint(cache, seed=1)
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 10, "not one grey"
    assert sum(event.preview is not None for event in progress) == 8


def test_a_seed_gives_the_same_picture_alone_and_in_a_batch_and_after_a_reload(cache):
    together, _ = _paint(cache, seed=5, steps=2, batch_size=2)
    (alone,), _ = _paint(cache, seed=6, steps=2)
    assert np.abs(alone - together[1]).max() <= 1
    cache.clear()
    (again,), _ = _paint(cache, seed=5, steps=2)
    assert np.abs(again - together[0]).max() <= 1


@pytest.mark.deep
def test_a_seed_gives_the_same_picture_after_another_model_has_taken_its_place(twin_folder, home):
    shutil.copytree(twin_folder("sd1"), home / "models" / "another")
    cache = _cache_in(home, 2**31)
    (first,), _ = _paint(cache, **FEW)
    cache.budget_bytes = cache.list_loaded()[0].bytes  # room for one
    _paint(cache, **FEW, model="another")
    assert [entry.name for entry in cache.list_loaded()] == ["another"]
    (again,), _ = _paint(cache, **FEW)
    assert np.abs(again - first).max() <= 1


IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
from pipelines.core.events import Picture
from tests.prepared import prepared_folder
from tests.test_starter import FEW, _cache_in, _events

home, file = map(Path, sys.argv[1:])
events = _events(_cache_in(home, 2**31), **FEW)
(picture,) = [event.image for event in events if isinstance(event, Picture)]
picture.save(file)
"""


@pytest.mark.deep
def test_a_seed_gives_the_same_picture_after_a_restart(tmp_path, home, cache):
    """The new process finds what this one has kept in the home folder."""
    (before,), _ = _paint(cache, **FEW)
    file = tmp_path / "after.png"
    command = [sys.executable, "-c", IN_A_NEW_PROCESS, str(home), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = np.asarray(Image.open(file), int)
    assert before.std() > 10
    assert np.abs(after - before).max() <= 1


@pytest.mark.openvino
def test_the_fast_unet_paints_what_pytorch_paints(cache, monkeypatch):
    (fast,), _ = _paint(cache, seed=2)
    with cache.lease("starter") as model:
        assert model.unet is not model.pipe.unet, "the CPU's fast path is on"
        monkeypatch.setattr(model, "_fast_unet", None)
        (plain,), _ = _paint(cache, seed=2)
    assert _psnr(fast, plain) >= 30


# --- steered, on the way that a newcomer's processor takes ---------------------------------------


@pytest.fixture(scope="module")
def plain(cache):
    """What the steered pictures of three steps would be without."""
    (picture,), _ = _paint(cache, seed=4, steps=3)
    return picture


# Converting takes half a minute; in the browser a picture follows a drawing by these networks, too.
@pytest.mark.deep
@pytest.mark.parametrize(
    ("method", "condition"),
    [
        ("controlnet", "sketch"),
        ("adapter", "depth"),
        ("controlnet", "depth"),
        ("adapter", "sketch"),
    ],
)
def test_each_control_model_changes_the_picture(method, condition, cache, maps, plain):
    unit = {"picture": maps[condition], "model": f"starter-{method}-{condition}"}
    (steered,), _ = _paint(cache, [unit], seed=4, steps=3)
    assert np.abs(steered - plain).mean() > 2


@pytest.mark.deep  # of a tiny model it is in control/test_steering.py
def test_weight_0_changes_nothing_at_all(cache, maps, plain):
    units = [
        {"picture": maps["sketch"], "model": SKETCH, "weight": 0},
        {"picture": maps["depth"], "model": "starter-adapter-depth", "weight": 0},
    ]
    (steered,), _ = _paint(cache, units, seed=4, steps=3)
    assert np.array_equal(steered, plain)


@pytest.mark.deep
def test_a_fresh_controlnet_changes_nothing_at_all(cache, maps, home, plain):
    unet = UNet2DConditionModel.from_pretrained(STARTER / "base" / "unet")
    ControlNetModel.from_unet(unet).save_pretrained(home / "control" / "fresh")
    fresh = {"picture": maps["sketch"], "model": "fresh"}
    other = {"picture": maps["sketch"], "model": SKETCH}
    (steered,), _ = _paint(cache, [fresh], seed=4, steps=3)
    assert np.array_equal(steered, plain)
    (without,), _ = _paint(cache, [other], seed=4, steps=3)
    (beside,), _ = _paint(cache, [fresh, other], seed=4, steps=3)
    assert np.array_equal(beside, without)


@pytest.mark.deep
def test_the_fast_networks_steer_as_pytorch_does(cache, maps, monkeypatch):
    units = [
        {"picture": maps["sketch"], "model": SKETCH},
        {"picture": maps["depth"], "model": "starter-adapter-depth", "weight": 0.7},
    ]
    (fast,), _ = _paint(cache, units, seed=2)
    with cache.lease("starter") as model, cache.lease(f"control:{SKETCH}") as control:
        assert model.unet.can_be_steered
        for each, name in ((model, "_fast_unet"), (control, "_fast")):
            assert getattr(each, name) is not None, "the CPU's fast path is on"
            monkeypatch.setattr(each, name, None)
        (plain,), _ = _paint(cache, units, seed=2)
    assert _psnr(fast, plain) >= 30


def test_none_of_its_networks_needs_to_be_converted():
    """Their topologies ship, of these versions: ``python -m pipelines.toybox.train topologies``."""
    unet = UNet2DConditionModel.from_pretrained(STARTER / "base" / "unet")
    nets = [
        without_hint_encoder(ControlNetModel.from_pretrained(STARTER / f"controlnet-{condition}"))
        for condition in ("sketch", "depth")
    ]
    networks = [unet_to_convert(unet), steered_unet_to_convert(unet)]
    for module, _, facts in [*networks, *map(controlnet_to_convert, nets)]:
        assert topology_of(module, without_origin(facts)) is not None, facts["kind"]


@pytest.mark.deep
def test_its_topologies_are_those_that_conversion_makes(tmp_path):
    unet = UNet2DConditionModel.from_pretrained(STARTER / "base" / "unet")
    module, example, facts = unet_to_convert(unet)
    openvino.save_model(convert(module, example), tmp_path / "made.xml", compress_to_fp16=False)
    write_network(topology_of(module, facts), module, tmp_path / "written.xml")
    x = [tensor.numpy() for tensor in example]
    made, written = (openvino.compile_model(tmp_path / f"{name}.xml", "CPU")(x)[0]
                     for name in ("made", "written"))  # fmt: skip
    assert np.array_equal(made, written)


def test_words_decide_what_is_painted(cache):
    (night,), _ = _paint(cache, prompt="a red ball at night", seed=3)
    (snow,), _ = _paint(cache, prompt="a red ball in the snow", seed=3)
    assert snow.mean() > night.mean() + 40


def test_its_card_says_how_it_was_made():
    facts = json.loads((STARTER / "training.json").read_text())
    assert set(facts["kinds"]) <= set(TRAINED)
    assert not set(facts["kinds"]) & set(HELD_OUT)
    assert facts["base"]["samples"] > 0
    card = (STARTER / "README.md").read_text()
    assert f"{facts['base']['samples']:,}" in card, "the card speaks of other weights"
    assert "have not been measured" not in card


def test_it_stays_small():
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 110e6
    assert {path.suffix for path in files} <= {
        *(".safetensors", ".json", ".jsonl", ".md", ".txt", ".xml"),
    }
