"""What can be asked of the steered engine: up to three units on top of a text-to-image request.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.core.engine import StrictModel, Use
from pipelines.core.errors import BadRequest
from pipelines.core.pictures.fitting import Resize
from pipelines.core.pictures.inputs import InputId
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.picture_sides import side
from pipelines.diffusion.requests import (
    ChangePicturesRequest,
    ChangeRequest,
    TextToImageRequest,
)

MAX_UNITS = 3

ControlMode = Literal["balanced", "prompt", "control"]


class ConditionRequest(StrictModel):
    """A condition map made of a picture: what a unit is steered by."""

    picture: Annotated[
        InputId,
        Field(title="Picture", description="The id of an uploaded picture or drawing."),
    ]
    preprocessor: Annotated[
        str,
        Field(
            max_length=100,
            title="Read as",
            description="What is read from the picture. None: it is such a map already.",
        ),
    ] = "none"
    parameters: Annotated[
        dict[str, Any],
        Field(
            max_length=20,
            title="Parameters",
            description="Settings of the preprocessor; those left out have its defaults.",
        ),
    ] = {}  # noqa: RUF012  a model copies it
    resize_mode: Resize = "crop"


class MapRequest(ConditionRequest):
    """A condition map of a size of its own."""

    width: Annotated[
        int,
        side("Width", "In pixels."),
    ] = 512
    height: Annotated[
        int,
        side("Height", "In pixels."),
    ] = 512

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


class ControlUnit(ConditionRequest):
    """One picture and the ControlNet or T2I-Adapter that makes the result follow it."""

    model: Annotated[
        str,
        Field(
            max_length=200,
            title="Control model",
            description="The ControlNet or T2I-Adapter. It must fit the base model.",
        ),
    ]
    weight: Annotated[
        float,
        Field(
            ge=0,
            le=2,
            title="Weight",
            description="How strongly the result follows the map. 0 switches the unit off.",
        ),
    ] = 1.0
    start: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Start",
            description="The share of the steps that are run after which the unit begins.",
        ),
    ] = 0.0
    end: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="End",
            description="The share of the steps that are run after which the unit ends.",
        ),
    ] = 1.0
    control_mode: Annotated[
        ControlMode,
        Field(
            title="Balance",
            description="Of ControlNets: whether prompt or map has the say where they disagree.",
        ),
    ] = "balanced"
    crop_along: Annotated[
        bool | None,
        Field(
            title="Crop along",
            description="Where a picture is painted on: follow the same part of this one, laid out "
            "as that picture is, whose proportions it must have, instead of fitting all of it. "
            "Empty: where it is the painted picture.",
        ),
    ] = None

    @model_validator(mode="after")
    def _start_before_end(self) -> ControlUnit:
        if self.start >= self.end:
            raise BadRequest(
                "A unit starts at {start} and ends at {end}; the start must come first.",
                start=self.start,
                end=self.end,
            )
        return self

    def follows_along(self, asked: FromPicture | None) -> bool:
        """Whether it follows the part that is painted of a picture, laid out as that is."""
        if asked is None:
            return False
        return self.picture == asked.picture if self.crop_along is None else self.crop_along


class ControlRequest(TextToImageRequest):
    """A picture from words that follows sketches, depth maps and the like."""

    units: Annotated[
        tuple[ControlUnit, ...],
        Field(
            min_length=1,
            max_length=MAX_UNITS,
            title="Units",
            description="Pictures to follow, each with its control model.",
        ),
    ]

    def uses(self) -> Iterator[Use]:
        yield from super().uses()
        yield from (Use("input", unit.picture) for unit in self.units)


class SteeredChangesRequest(ChangePicturesRequest):
    """The same change of one picture, or of several, which may follow others besides."""

    units: Annotated[
        tuple[ControlUnit, ...],
        Field(
            max_length=MAX_UNITS,
            title="Units",
            description="Pictures to follow, each with its control model. Those that name the "
            "picture to begin from follow each of several pictures in its turn.",
        ),
    ] = ()

    def alone(
        self, picture: str, size: tuple[int, int] | None = None
    ) -> ChangeRequest | ControlRequest:
        change = super().alone(picture, size)
        if not self.units:
            return change
        first = self.from_picture.picture
        units = tuple(
            unit.model_copy(update={"picture": picture}) if unit.picture == first else unit
            for unit in self.units
        )
        return ControlRequest(**dict(change), units=units)

    def uses(self) -> Iterator[Use]:
        yield from super().uses()
        yield from (Use("input", unit.picture) for unit in self.units)
