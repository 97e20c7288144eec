"""Painting from words, and comparing samplers."""

from __future__ import annotations

from pipelines.core.engines import Engine
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from studio.core.feature import Feature
from studio.features.painting.checks import Paintings, check_comparison, check_painting

FEATURE = Feature(
    name="painting",
    engines=(
        Engine("text_to_image", TextToImageRequest, "pipelines.diffusion.text_to_image"),
        Engine("compare_samplers", CompareSamplersRequest, "pipelines.diffusion.compare"),
    ),
    services={"paintings": Paintings},
    checks={TextToImageRequest: check_painting, CompareSamplersRequest: check_comparison},
    titles=lambda studio, owner: {e.name: e.title for e in studio.catalog.models()},
)
