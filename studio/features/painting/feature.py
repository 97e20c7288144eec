"""Painting from words, and comparing samplers."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from pipelines.core.engine import Engine
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import styles
from pipelines.grids.requests import CompareSamplersRequest, GridRequest
from pipelines.grids.verdicts import JUDGE
from studio.core.feature import Feature
from studio.features.painting import live_api, word_lists
from studio.features.painting.checks import check_comparison, check_grid
from studio.features.painting.grid_tab import GridTab
from studio.features.painting.text_to_image import PaintTab
from studio.features.painting.word_lists import WordLists

router = APIRouter()
router.include_router(word_lists.router)
router.include_router(live_api.router)


def labels() -> list[Mapping[str, str]]:
    """Of samplers, schedules and styles."""
    samplers = samplers_in(None)
    described = [*samplers, *samplers.schedules.values()]
    return [each.description for each in described] + [each.title for each in styles().values()]


FEATURE = Feature(
    name="painting",
    engines=(
        Engine("text_to_image", TextToImageRequest, "pipelines.diffusion.text_to_image"),
        Engine("grid", GridRequest, "pipelines.grids.engine"),
        Engine("compare_samplers", CompareSamplersRequest, "pipelines.grids.engine"),
    ),
    services={"word_lists": lambda studio: WordLists(studio.home)},
    checks={GridRequest: check_grid, CompareSamplersRequest: check_comparison},
    titles=lambda studio, owner: {
        JUDGE: "the starter's judge",
        **{e.name: e.title for e in studio.catalog.models()},
    },
    labels=labels,
    routes=router,
    tabs=(PaintTab, GridTab),
)
