"""Seeds, and the variations of what they draw.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest
from pipelines.diffusion.picture_sides import side

MAX_SEED = 2**32 - 1
RANDOM = -1
"""As a seed: any."""


class Variation(StrictModel):
    """A second seed whose noise is mixed into the first one's: the same picture, but for a little.

    The pictures of a request keep its seed and count the variation's up.
    """

    seed: Annotated[
        int,
        Field(
            ge=RANDOM,
            le=MAX_SEED,
            title="Variation seed",
            description="What is mixed in. −1 draws one.",
        ),
    ] = RANDOM
    strength: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Variation strength",
            description="0 is the seed's own picture, 1 that of the variation seed.",
        ),
    ] = 0.0
    width: Annotated[
        int | None,
        side(
            "Resize seed from width",
            "The seed is drawn for a picture of this size, and its middle is kept: a "
            "similar picture at another size. Empty: the picture's own.",
        ),
    ] = None
    height: Annotated[
        int | None,
        side("Resize seed from height", "The same, of the other side. Empty: the picture's own."),
    ] = None

    @model_validator(mode="after")
    def _whole_size(self) -> Variation:
        if (self.width is None) != (self.height is None):
            raise BadRequest(
                "The size to resize the seed from has a width of {width} and a height of "
                "{height}: give both, or neither.",
                width=self.width or "?",
                height=self.height or "?",
            )
        return self
