"""Which models a LoRA is made for, told by how wide the texts are that its U-Net attends to."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pipelines.core.paths import ASSETS

_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_TITLES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "starter": "Atelier starter",
    "": "?",
}
# ss_base_model_version of kohya's trainer, modelspec.architecture of Stability's standard.
_NAMES = (
    ("sdxl", "sdxl"),
    ("stable-diffusion-xl", "sdxl"),
    ("sd_v2", "sd2"),
    ("stable-diffusion-v2", "sd2"),
    ("sd_v1", "sd1"),
    ("stable-diffusion-v1", "sd1"),
)
BASE_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
ARCHITECTURES = {
    "sd1": "stable-diffusion-v1/lora",
    "sd2": "stable-diffusion-v2-768-v/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}


def family_of_width(width: int) -> str:
    """``sd1``, ``sd2``, ``sdxl``, ``starter``, or ``unet-<width>`` for what is none of these."""
    if width == _starter_width():
        return "starter"
    return _WIDTHS.get(width, f"unet-{width}")


def family_of_unet(config: Any) -> str:
    """As :func:`family_of_width`, of a UNet by its configuration in diffusers."""
    width = config.cross_attention_dim
    return family_of_width(width if isinstance(width, int) else max(width))


def family_of_name(text: str) -> str:
    """The family that a file's metadata speaks of, or ""."""
    return next((family for name, family in _NAMES if text.startswith(name)), "")


def title_of(family: str) -> str:
    """What people call a family."""
    return _TITLES.get(family) or f"U-Net {family.removeprefix('unet-')}"


@cache
def _starter_width() -> int:
    try:
        config = json.loads((ASSETS / "starter/base/unet/config.json").read_text())
        return int(config["cross_attention_dim"])
    except (OSError, ValueError, KeyError, TypeError):  # an installation without the starter
        return 0
