"""The starter's own depth estimator, trained on Toybox renders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.preprocessors import parameters as ask
from pipelines.preprocessors.networks import Networks
from pipelines.toybox.depth import DepthEstimator


def load(name: str, folder: Path, files: tuple[str, ...], device: str) -> Networks:
    """The estimator in ``folder``, a diffusers folder with safetensors."""
    model = DepthEstimator.from_pretrained(
        folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return Networks(model, [model], device)


@torch.inference_mode()
def annotate(picture: Image.Image, parameters: ask.ToyboxDepth, weights: Networks) -> Image.Image:
    """Relative inverse depth, near is bright: RGB of the picture's size."""
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(weights.device)
    depth = weights.reader(x.float() / 127.5 - 1)[0, 0]
    return Image.fromarray((depth * 255).round().byte().cpu().numpy()).convert("RGB")
