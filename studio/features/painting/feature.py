"""Painting from words, and comparing samplers."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.core.engines import Engine
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import styles
from studio.core.feature import Feature
from studio.features.painting.checks import Paintings, check_comparison, check_painting
from studio.features.painting.compare import CompareTab
from studio.features.painting.text_to_image import PaintTab
from studio.features.painting.word_lists import WordLists, word_lists_router


def labels() -> list[Mapping[str, str]]:
    """Of samplers, schedules and styles."""
    samplers = samplers_in(None)
    described = [*samplers, *samplers.schedules.values()]
    return [each.description for each in described] + [each.title for each in styles().values()]


FEATURE = Feature(
    name="painting",
    engines=(
        Engine("text_to_image", TextToImageRequest, "pipelines.diffusion.text_to_image"),
        Engine("compare_samplers", CompareSamplersRequest, "pipelines.diffusion.compare"),
    ),
    services={"paintings": Paintings, "word_lists": lambda studio: WordLists(studio.home)},
    checks={TextToImageRequest: check_painting, CompareSamplersRequest: check_comparison},
    titles=lambda studio, owner: {e.name: e.title for e in studio.catalog.models()},
    labels=labels,
    routes=(word_lists_router,),
    tabs=(PaintTab, CompareTab),
)
