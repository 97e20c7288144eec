from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.preprocessors import weights
from pipelines.toybox.depth import DepthEstimator
from tests.pipelines.preprocessors.conftest import cache_in

TINY = {"widths": (8, 16, 16), "shortest": 32, "longest": 48}


@pytest.fixture
def starter(tmp_path, monkeypatch) -> DepthEstimator:
    """A tiny estimator where the starter's would lie."""
    torch.manual_seed(0)
    model = DepthEstimator(**TINY).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    model.half().save_pretrained(tmp_path / "assets" / "starter" / "depth")
    monkeypatch.setattr(weights, "ASSETS", tmp_path / "assets")
    return model.float()


def test_the_starters_estimator_makes_a_map_of_any_size(starter, annotate, photo, tmp_path):
    assert weights.is_here("toybox_depth", tmp_path)
    cache = cache_in(tmp_path, offline=True)
    for picture in (photo, Image.new("RGB", (1, 1)), photo.resize((500, 7))):
        made = annotate("depth", picture, cache)
        assert (made.size, made.mode) == (picture.size, "RGB")
    made = np.asarray(annotate("depth", photo, cache))
    x = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = starter(x)[0, 0].numpy() * 255
    assert np.abs(made[..., 0] - expected).max() < 1
    assert (made == made[..., :1]).all()


@pytest.mark.parametrize("size", [(1, 1), (33, 70), (48, 48), (20, 400)])
def test_depth_has_the_size_of_the_picture_and_lies_between_0_and_1(size):
    model = DepthEstimator(**TINY).eval()
    with torch.no_grad():
        depth = model(torch.rand(2, 3, *size) * 2 - 1)
    assert depth.shape == (2, 1, *size)
    assert depth.min() >= 0
    assert depth.max() <= 1


@pytest.mark.parametrize(
    ("size", "read"),
    [
        ((128, 128), (128, 128)),
        ((160, 192), (160, 192)),
        ((64, 64), (128, 128)),
        ((512, 768), (192, 288)),
        ((64, 4096), (32, 1024)),
    ],
)
def test_a_picture_is_read_near_the_size_of_the_training(size, read):
    with torch.device("meta"):
        model = DepthEstimator()
    assert model.factor == 32
    assert model.size_read(*size) == read


def test_the_shipped_size_is_between_one_and_two_million():
    with torch.device("meta"):
        assert 1e6 < sum(p.numel() for p in DepthEstimator().parameters()) < 2e6


def test_it_sees_the_whole_picture_and_learns():
    """That one side is near, told only by the colour of the other side."""
    torch.manual_seed(0)
    model = DepthEstimator(**TINY)
    colour = torch.tensor([1.0, -1.0]).repeat(2)
    x = torch.zeros(4, 3, 32, 64)
    x[..., :4] = colour[:, None, None, None]
    target = (colour[:, None, None, None] > 0).float().expand(4, 1, 32, 4)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(30):
        loss = (model(x)[..., -4:] - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
