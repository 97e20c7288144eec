"""Preprocessors whose networks transformers has: Depth Anything, ZoeDepth, UperNet.

Pictures are scaled and normalised here, as the models' own processors do it, but within
:data:`pipelines.preprocessors.working_size.LONGEST` for long and narrow ones too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pipelines.core.engine import IMPORTING
from pipelines.preprocessors import parameters as ask
from pipelines.preprocessors.networks import Networks
from pipelines.preprocessors.working_size import as_map, read_at

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_MIRRORED = 32  # pixels; both sides stay multiples of 32


def load(name: str, folder: Path, files: tuple[str, ...], device: str) -> Networks:
    """The model ``name`` with the weights in ``folder``."""
    with IMPORTING:
        import transformers

        kind = getattr(transformers, _CLASSES[name])  # which imports its module
    safetensors = any(file.endswith(".safetensors") for file in files)
    model = kind.from_pretrained(
        folder, local_files_only=True, use_safetensors=safetensors, weights_only=True
    )
    return Networks(model, [model], device)


_CLASSES = {
    "depth_anything": "DepthAnythingForDepthEstimation",
    "zoe": "ZoeDepthForDepthEstimation",
    "upernet": "UperNetForSemanticSegmentation",
}


@torch.inference_mode()
def annotate(picture: Image.Image, parameters: ask.Parameters, weights: Networks) -> Image.Image:
    """The map of ``picture`` (RGB), RGB and of the same size; the parameters' class says which."""
    if isinstance(parameters, ask.Upernet):
        return _segments(picture, parameters, weights)
    depth = _near_is_large if isinstance(parameters, ask.DepthAnything) else _from_metres
    return as_map(depth(picture, parameters, weights), picture.size)


def _near_is_large(picture: Image.Image, parameters: ask.DepthAnything, weights: Networks):
    model = weights.reader
    pixels = read_at(picture, parameters.resolution, multiple=model.config.patch_size)
    depth = model(_normalise(pixels, _IMAGENET, weights.device)).predicted_depth[0]
    return _stretch(depth.float().cpu().numpy(), 0, 100)


def _from_metres(picture: Image.Image, parameters: ask.Zoe, weights: Networks) -> np.ndarray:
    """Near bright, the range as controlnet-aux takes it, with which the control models learnt."""
    x = _normalise(read_at(picture, parameters.resolution), _HALVES, weights.device)
    # Depth goes wrong at the borders, so they are mirrored outwards, as ZoeDepth does.
    x = F.pad(x, (_MIRRORED,) * 4, mode="reflect")
    metres = weights.reader(x).predicted_depth[0, _MIRRORED:-_MIRRORED, _MIRRORED:-_MIRRORED]
    metres = metres.float().cpu().numpy()
    return 255 - _stretch(metres, 2, 85)


def _segments(picture: Image.Image, parameters: ask.Upernet, weights: Networks) -> Image.Image:
    pixels = read_at(picture, parameters.resolution, multiple=32)
    logits = weights.reader(_normalise(pixels, _IMAGENET, weights.device)).logits
    classes = logits[0].argmax(0).cpu().numpy()
    return as_map(COLOURS[classes], picture.size, keep_colours=True)


def _normalise(pixels: np.ndarray, statistics, device: str) -> torch.Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W) float32 with the mean and deviation of ``statistics``."""
    mean, deviation = (np.float32(each) for each in statistics)
    x = (pixels.astype(np.float32) / 255 - mean) / deviation
    return torch.from_numpy(x).permute(2, 0, 1)[None].to(device)


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """``values`` brought to 0 … 255 between two percentiles; all 0 where they are all the same."""
    least, most = np.percentile(values, (low, high))
    scaled = (values - least) / max(most - least, 1e-6)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)


_HEX = """
787878b4787806e6e650323204c8037878508c8c8ccc05ffe6e6e604fa07e005ffebff0796053d78784608ff33ff0652
8fff8cccff04ff3307cc46030066c83de6faff06330b66ffff0747ff09e00907e6dcdcdcff095c7009ff08ffd607ffe0
ffb8060aff47ff290a07ffffe0ff086608ffff3d06ffc207ff7a0800ff14ff0829ff05990633ffeb0cffa0961400a3ff
8c8c8cfa0a0f14ff001fff00ff1f00ffe00099ff000000ffff470000ebff00adff1f00ff0bc8c8ff520000fff5003dff
00ff7000ff85ff0000ffa300ff6600c2ff00008fff33ff000052ff00ff2900ffad0a00ffadff0000ff99ff5c00ff00ff
ff00f5ff0066ffad00ff0014ffb8b8001fff00ff3d0047ffff00cc00ffc200ff52000aff0070ff3300ff00c2ff007aff
00ffa3ff990000ff0aff70008fff005200ffa3ff00ffeb0008b8aa8500ff00ff5cb800ffff001f00b8ff00d6ffff0070
5cff0000e0ff70e0ff46b8a0a300ff9900ff47ff00ff00a3ffcc00ff008f00ffeb85ff00ff00ebf500ffff007afff500
0abed4d6ff0000ccff1400ffffff000099ff0029ff00ffcc2900ff29ff00ad00ff00f5ff4700ff7a00ff00ffb8005cff
b8ff000085ffffd60019c2c266ff005c00ff
"""

COLOURS = np.frombuffer(bytes.fromhex(_HEX), np.uint8).reshape(150, 3)
