"""Sides of pictures that are painted: their bounds, and the field of a request that holds one."""

from __future__ import annotations

from typing import Any

from pydantic import Field

LEAST_SIDE, LARGEST_SIDE = 64, 2048
SIZE_STEP = 8  # pixels, as are the bounds


def side(title: str, description: str) -> Any:
    """The field of a side in pixels, within the bounds."""
    return Field(
        ge=LEAST_SIDE,
        le=LARGEST_SIDE,
        multiple_of=SIZE_STEP,
        title=title,
        description=description,
    )
