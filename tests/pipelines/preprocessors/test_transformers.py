"""Depth Anything, ZoeDepth and UperNet in sizes that take no time, from a hub on the loopback."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.preprocessors.from_transformers import COLOURS
from pipelines.preprocessors.weights import WEIGHTS
from tests.hub import serve_hub
from tests.pipelines.preprocessors.conftest import cache_in


def depth_anything():
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=stages,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    return DepthAnythingForDepthEstimation(config)


def zoe():
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

    backbone = BeitConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        bin_configurations=[{"n_bins": 4, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )
    return ZoeDepthForDepthEstimation(config)


def upernet():
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=16,
        num_labels=150,
        auxiliary_in_channels=24,
        auxiliary_channels=16,
    )
    return UperNetForSemanticSegmentation(config)


@pytest.fixture
def serve_weights(monkeypatch, tmp_path):
    """``serve_weights(name)``: the model whose weights the hub has now for the entry ``name``."""
    with serve_hub({"someone/empty": {}}, monkeypatch) as server:

        def serve(name: str) -> torch.nn.Module:
            torch.manual_seed(1)
            model, entry = globals()[name]().eval(), WEIGHTS[name]
            for parameter in model.parameters():  # louder than at the start of a training
                parameter.data += torch.randn_like(parameter) * 0.2
            model.save_pretrained(tmp_path / name)
            contents = {
                path.name: path.read_bytes()
                for path in (tmp_path / name).iterdir()
                if path.name in entry.files
            }
            if "pytorch_model.bin" in entry.files:
                torch.save(model.state_dict(), buffer := io.BytesIO())
                contents["pytorch_model.bin"] = buffer.getvalue()
            server.repos[entry.repo] = contents
            known = {
                name: known and hashlib.sha256(contents[name]).hexdigest()
                for name, known in entry.files.items()
            }
            monkeypatch.setitem(WEIGHTS, name, replace(entry, files=known))
            return model

        yield serve


@pytest.mark.parametrize("name", ["depth_anything", "zoe", "upernet"])
def test_the_real_model_makes_a_map_of_the_pictures_size(
    serve_weights, annotate, photo, tmp_path, name
):
    serve_weights(name)
    preprocessor = {"zoe": "depth_zoe", "upernet": "seg_upernet"}.get(name, name)
    cache = cache_in(tmp_path)
    for picture in (photo, Image.new("RGB", (1, 1), "red"), photo.resize((300, 20))):
        made = annotate(preprocessor, picture, cache, resolution=64)
        assert (made.size, made.mode) == (picture.size, "RGB")
    first, again = (annotate(preprocessor, photo, cache, resolution=64) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert len(np.unique(np.asarray(first).reshape(-1, 3), axis=0)) > 1
    (entry,) = cache.list_loaded()
    assert entry.bytes > 10**4


def test_relative_depth_fills_the_range(serve_weights, annotate, photo, tmp_path):
    serve_weights("depth_anything")
    picture = photo.resize((84, 56))  # which it can read as it is
    made = np.asarray(annotate("depth_anything", picture, cache_in(tmp_path), resolution=0))
    assert (made == made[..., :1]).all()
    assert made.min() == 0
    assert made.max() == 255


def test_what_is_near_in_metres_is_bright(serve_weights, annotate, photo, tmp_path):
    model = serve_weights("zoe")
    x = torch.from_numpy(np.array(photo.resize((128, 64)), np.float32)) / 127.5 - 1
    x = torch.nn.functional.pad(x.permute(2, 0, 1)[None], (32,) * 4, mode="reflect")
    with torch.no_grad():
        metres = model(x).predicted_depth[0, 32:-32, 32:-32].numpy()
    made = annotate("depth_zoe", photo.resize((128, 64)), cache_in(tmp_path), resolution=64)
    bright = np.asarray(made)[..., 0].astype(float)
    assert metres.std() > 0
    assert np.corrcoef(bright.ravel(), metres.ravel())[0, 1] < -0.9


def test_segments_have_the_colours_of_their_classes(serve_weights, annotate, photo, tmp_path):
    model = serve_weights("upernet")
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
    pixels = np.array(photo.resize((96, 64)), np.float32) / 255
    x = torch.from_numpy((pixels - mean) / deviation).permute(2, 0, 1)[None]
    with torch.no_grad():
        classes = model(x).logits[0].argmax(0).numpy()
    made = annotate("seg_upernet", photo.resize((96, 64)), cache_in(tmp_path), resolution=64)
    assert (np.asarray(made) == COLOURS[classes]).mean() > 0.99
    assert len(np.unique(classes)) > 1


def test_the_palette_is_that_of_ade20k():
    from controlnet_aux.util import ade_palette

    assert (ade_palette() == COLOURS).all()
