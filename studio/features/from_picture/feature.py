"""Painting that begins from a picture."""

from __future__ import annotations

from pipelines.core.engines import Engine
from pipelines.diffusion.requests import ChangeRequest, TextToImageRequest
from studio.core.feature import Feature
from studio.features.from_picture.checks import check_change
from studio.features.from_picture.tab import FromPictureTab

FEATURE = Feature(
    name="from_picture",
    engines=(Engine("from_picture", ChangeRequest, "pipelines.diffusion.text_to_image"),),
    checks={TextToImageRequest: check_change},
    tabs=(FromPictureTab,),
)
