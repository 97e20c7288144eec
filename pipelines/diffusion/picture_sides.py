"""Sides of pictures that are painted: their bounds, and the field of a request that holds one."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipelines.core.errors import BadRequest

LEAST_SIDE, LARGEST_SIDE = 64, 2048
SIZE_STEP = 8  # pixels, as are the bounds


def check_sides(model: str, step: int, width: int, height: int) -> None:
    """Raises BadRequest where a model, by its title, paints multiples of other pixels alone."""
    for name, value in (("width", width), ("height", height)):
        if value % step:
            raise BadRequest(
                "{model} paints sizes that are multiples of {step}; the {side} is {value}.",
                model=model,
                step=step,
                side=name,
                value=value,
            )


def side(title: str, description: str) -> Any:
    """The field of a side in pixels, within the bounds."""
    return Field(
        ge=LEAST_SIDE,
        le=LARGEST_SIDE,
        multiple_of=SIZE_STEP,
        title=title,
        description=description,
    )
