"""Sampling at a click, from presets/sampling.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import TypeAdapter

from pipelines.chat.requests import Sampling
from pipelines.core.engine import StrictModel
from pipelines.core.files import read_yaml
from pipelines.core.paths import PRESETS


class SamplingPreset(StrictModel):
    """One entry of the picker.

    Attributes:
        title: what is shown, by language ("en", "zh").
        sampling: what it sets; the rest is left to the model's file.
    """

    name: str
    title: Mapping[str, str]
    sampling: Sampling


@cache
def sampling_presets() -> tuple[SamplingPreset, ...]:
    """All presets, in the order of the file."""
    listed = read_yaml(PRESETS / "sampling.yaml")
    return TypeAdapter(tuple[SamplingPreset, ...]).validate_python(listed)
