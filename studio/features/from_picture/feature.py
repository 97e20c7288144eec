"""Painting that begins from a picture."""

from __future__ import annotations

from pipelines.core.engine import Engine
from pipelines.diffusion.control.requests import SteeredChangesRequest
from pipelines.diffusion.requests import ChangePicturesRequest, TextToImageRequest
from studio.core.feature import Feature
from studio.features.from_picture.checks import check_change, check_changes
from studio.features.from_picture.tab import KIND, FromPictureTab

FEATURE = Feature(
    name="from_picture",
    engines=(Engine(KIND, SteeredChangesRequest, "pipelines.diffusion.control.changing"),),
    checks={TextToImageRequest: check_change, ChangePicturesRequest: check_changes},
    tabs=(FromPictureTab,),
)
