"""Models that are shown pictures together with an instruction, on their tiny twins."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as qwenedit
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwenedit_plus
from PIL import Image

from pipelines.core.errors import BadRequest
from pipelines.core.events import Picture, Progress
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import Samplers
from pipelines.models.catalog import Catalog

PROMPT = "make the mug blue"


@pytest.fixture(scope="module")
def twins(twin_folder, tmp_path_factory):
    """``twins(family)``: its twin, loaded once."""
    home, loaded = tmp_path_factory.mktemp("editing"), {}

    def twin(family):
        if family not in loaded:
            shutil.copytree(twin_folder(family), home / "models" / f"twin {family}")
            entry = Catalog(home).get(f"twin {family}")
            loaded[family] = load(entry, "cpu", lambda *note: None, offline=True, home=home)
        return loaded[family]

    return twin


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Qwen-Image-Edit looks at pictures of a megapixel, which even a twin takes seconds for."""
    monkeypatch.setattr(qwenedit_plus, "VAE_IMAGE_SIZE", 64 * 64)
    monkeypatch.setattr(qwenedit_plus, "CONDITION_IMAGE_SIZE", 56 * 56)
    monkeypatch.setattr(qwenedit, "calculate_dimensions", lambda area, ratio: (64, 64, None))


def picture_of(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8))


def settings_on(model, **asked):
    request = TextToImageRequest(
        prompt=PROMPT, model=model.entry.name, width=64, height=64, steps=2, seed=5,
        guidance=2.0, from_picture=asked,
    )  # fmt: skip
    return resolve(request, model.entry, Samplers())


def paint(model, **asked) -> np.ndarray:
    events = list(text_to_image.paint(model, settings_on(model, **asked), threading.Event()))
    steps = [each for each in events if isinstance(each, Progress) and each.note is None]
    assert [each.step for each in steps] == [1, 2]
    assert steps[-1].preview.size == (64, 64)
    return np.asarray(next(each.image for each in events if isinstance(each, Picture)), int)


@pytest.mark.parametrize(
    ("family", "count", "further"),
    [
        ("flux2", 2, {"guidance_scale": 2.0}),
        ("qwenedit-plus", 2, {"true_cfg_scale": 2.0, "negative_prompt": ""}),
        pytest.param("qwenedit", 1, {"true_cfg_scale": 2.0, "negative_prompt": ""},
                     marks=pytest.mark.deep),
    ],
)  # fmt: skip
def test_pictures_are_shown_to_the_models_own_pipeline(twins, family, count, further):
    model = twins(family)
    shown = [picture_of(seed) for seed in range(count)]
    ids = [keep_input(model.home, "ada", each) for each in shown]
    made = paint(model, picture=ids[0], references=ids[1:], edit=True)
    expected = model.pipe(
        image=shown if count > 1 else shown[0],
        prompt=PROMPT,
        width=64,
        height=64,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(5),
        **further,
    ).images[0]
    assert np.array_equal(made, np.asarray(expected))
    # Each of them counts.
    for place in range(count):
        others = [*ids[:place], keep_input(model.home, "ada", picture_of(9)), *ids[place + 1 :]]
        other = paint(model, picture=others[0], references=others[1:], edit=True)
        assert not np.array_equal(other, made)


def test_where_the_mask_is_0_an_edit_leaves_every_pixel(twins):
    model = twins("flux2")
    picture = picture_of(1)
    mask = Image.new("RGB", (64, 64))
    mask.paste("white", (8, 8, 40, 40))
    id, mask_id = (keep_input(model.home, "ada", each) for each in (picture, mask))
    made = paint(model, picture=id, mask=mask_id, mask_blur=0, edit=True)
    changed = (made != np.asarray(picture)).any(axis=-1)
    assert changed[8:40, 8:40].mean() > 0.5
    changed[8:40, 8:40] = False
    assert not changed.any()


def test_models_that_only_edit_do_so_by_themselves(twins):
    id = "0" * 32
    assert settings_on(twins("qwenedit-plus"), picture=id, strength=0.3).from_picture.edit
    begun = settings_on(twins("flux2"), picture=id, strength=0.3).from_picture
    assert (begun.edit, begun.strength) == (False, 0.3)
    edited = settings_on(
        twins("flux2"), picture=id, strength=0.3, edit=True, mask=id, masked_content="noise"
    ).from_picture
    # They have no effect, and pictures do not speak of them.
    assert (edited.strength, edited.masked_content) == (1, "original")
    grown = settings_on(twins("flux2"), picture=id, outpaint={"left": 8}).from_picture
    assert grown.outpaint.left == 8


@pytest.mark.parametrize(
    ("family", "asked", "sentence"),
    [
        ("sd1", {"edit": True}, "takes no instructions to edit a picture"),
        ("flux2", {"references": ["1" * 32]}, "send 1 picture less, or edit by words"),
        ("qwenedit-plus", {"references": ["1" * 32] * 3}, "takes at most 3 pictures, not 4"),
        ("qwenedit-plus", {"edit": False}, "only takes instructions"),
        ("qwenedit-plus", {"outpaint": {"left": 8}}, "edited by words keeps its sides"),
        ("flux2", {"edit": True, "outpaint": {"left": 8}}, "edited by words keeps its sides"),
        ("qwenedit-plus", None, "paints none from words alone"),
    ],
)
def test_what_a_model_cannot_do_is_said_before_it_is_queued(
    twin_folder, tmp_path, family, asked, sentence
):
    shutil.copytree(twin_folder(family), tmp_path / "models" / "twin")
    entry = Catalog(tmp_path).get("twin")
    picture = None if asked is None else {"picture": "0" * 32, **asked}
    request = TextToImageRequest(prompt=PROMPT, model="twin", from_picture=picture)
    with pytest.raises(BadRequest, match=sentence):
        resolve(request, entry, Samplers())
