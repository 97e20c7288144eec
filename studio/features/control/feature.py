"""Painting that follows drawings, photos and maps."""

from __future__ import annotations

from pipelines.core.engine import Engine
from pipelines.diffusion.control.catalog import CACHE_PREFIX
from pipelines.diffusion.control.requests import ControlRequest, SteeredChangesRequest
from studio.core.feature import Feature
from studio.features.control.checks import check_units
from studio.features.control.conditions import Conditions
from studio.features.control.conditions_api import router
from studio.features.control.tab import ControlTab

FEATURE = Feature(
    name="control",
    engines=(Engine("control", ControlRequest, "pipelines.diffusion.control.paint"),),
    services={"conditions": lambda studio: Conditions(studio.home, studio.cache, studio.inputs)},
    checks={ControlRequest: check_units, SteeredChangesRequest: check_units},
    titles=lambda studio, owner: {CACHE_PREFIX + e.name: e.title for e in studio.control.models()},
    routes=router,
    tabs=(ControlTab,),
)
