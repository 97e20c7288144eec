"""What can be asked of the upscaling engine.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from pipelines.core.engine import Request, Use
from pipelines.core.pictures.inputs import InputId
from pipelines.upscaling.catalog import LANCZOS

MAX_PIXELS = 4096 * 4096
"""Of a result: more take minutes and gigabytes."""

UpscalerName = Annotated[
    str,
    Field(
        max_length=200,
        title="Upscaler",
        description="What makes the pixels: Lanczos and Nearest compute them, networks paint them. "
        "Further networks are put into the folder upscalers/ as .safetensors files.",
    ),
]


class UpscaleRequest(Request):
    """A picture at a larger size."""

    picture: Annotated[
        InputId, Field(title="Picture", description="The id of an uploaded picture.")
    ]
    upscaler: UpscalerName = LANCZOS
    scale: Annotated[
        float,
        Field(
            ge=1,
            le=8,
            title="Scale",
            description="How many times as wide and as high.",
        ),
    ] = 2.0
    about: Annotated[
        str,
        Field(
            max_length=200_000,
            title="Settings",
            description="How the picture was made, as its file says it. It is kept.",
        ),
    ] = ""

    def uses(self) -> Iterator[Use]:
        yield Use("input", self.picture)
