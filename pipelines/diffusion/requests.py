"""What can be asked of the image engines: bounds, defaults and help texts live here only.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.core.engine import Request, Use
from pipelines.core.errors import BadRequest
from pipelines.core.pictures.inputs import InputId
from pipelines.diffusion.details.requests import DetailFix
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.lora.use import MAX_LORAS, LoraUse, library_uses
from pipelines.diffusion.picture_sides import side
from pipelines.diffusion.seeds import MAX_SEED, Variation

MAX_PROMPT = 10_000
MAX_PIXELS = 200_000_000  # of all results of a request that paints many
MAX_PICTURES, MAX_CHANGED = 100, 200
"""Pictures that are changed in the same way, and what comes of them all."""


class TextToImageRequest(Request):
    """A picture from words. Field titles and descriptions are the page's labels and help texts."""

    prompt: Annotated[
        str,
        Field(max_length=MAX_PROMPT, title="Prompt", description="What the picture shows."),
    ]
    negative_prompt: Annotated[
        str,
        Field(
            max_length=MAX_PROMPT,
            title="Negative prompt",
            description="What the picture should not show.",
        ),
    ] = ""
    combinations: Annotated[
        bool,
        Field(
            title="All combinations",
            description="Choices in the prompt are taken in turn, another combination for each "
            "picture, instead of as the seed has it.",
        ),
    ] = False
    model: Annotated[
        str, Field(max_length=200, title="Model", description="The base model that paints.")
    ] = "starter-256"
    style: Annotated[
        str | None,
        Field(
            max_length=200,
            title="Style",
            description="Words put around the prompt, from presets/styles.yaml.",
        ),
    ] = None
    sampler: Annotated[
        str | None,
        Field(
            max_length=100,
            title="Sampler",
            description="How the noise is taken away. Empty: the model's own choice.",
        ),
    ] = None
    schedule: Annotated[
        str | None,
        Field(
            max_length=100,
            title="Schedule",
            description="Where the steps lie between noise and picture. Empty: the model's own.",
        ),
    ] = None
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=150,
            title="Steps",
            description="More steps take longer and add detail. Empty: the model's own.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        Field(
            ge=0,
            le=30,
            title="Guidance",
            description="How closely the picture follows the prompt (CFG). Empty: the model's own.",
        ),
    ] = None
    guidance_rescale: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Guidance rescale",
            description="Pulls the contrast of strongly guided pictures back (0 is off).",
        ),
    ] = 0.0
    guidance_start: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Guidance from",
            description="The share of the steps after which guidance begins. Steps without it cost "
            "half.",
        ),
    ] = 0.0
    guidance_end: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Guidance until",
            description="The share of the steps after which guidance ends.",
        ),
    ] = 1.0
    clip_skip: Annotated[
        int,
        Field(
            ge=1,
            le=12,
            title="Clip skip",
            description="Which layer of the text encoder is read, counted from the last (1).",
        ),
    ] = 1
    eta: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            title="Eta",
            description="DDIM (0 if empty) and TCD (0.3): 0 adds no noise, 1 the most.",
        ),
    ] = None
    width: Annotated[
        int | None,
        side("Width", "In pixels. Empty: the size the model was trained at."),
    ] = None
    height: Annotated[
        int | None,
        side("Height", "In pixels. Empty: the size the model was trained at."),
    ] = None
    seed: Annotated[
        int,
        Field(
            ge=-1,
            le=MAX_SEED,
            title="Seed",
            description="The same seed gives the same picture. −1 draws one.",
        ),
    ] = -1
    batch_count: Annotated[
        int,
        Field(ge=1, le=16, title="Batch count", description="How many batches, one after another."),
    ] = 1
    batch_size: Annotated[
        int,
        Field(ge=1, le=8, title="Batch size", description="How many pictures at the same time."),
    ] = 1
    loras: Annotated[
        tuple[LoraUse, ...],
        Field(
            max_length=MAX_LORAS,
            title="LoRAs",
            description="What the model has learned besides, each with its weight. The prompt may "
            "name further ones: <lora:name:0.8>.",
        ),
    ] = ()
    from_picture: Annotated[
        FromPicture | None,
        Field(
            title="From a picture",
            description="A picture to begin from, instead of noise alone.",
        ),
    ] = None
    detail_fix: Annotated[
        DetailFix | None,
        Field(
            title="Fix details",
            description="Parts of the finished picture are found, repainted at the model's own "
            "size, and put back.",
        ),
    ] = None
    hires: Annotated[
        Hires | None,
        Field(
            title="Hires pass",
            description="A second pass at a larger size, for what a model cannot lay out at once.",
        ),
    ] = None
    decoder: Annotated[
        Literal["auto", "full", "fast"],
        Field(
            title="Decoder",
            description="What turns the result into pixels: the model's own autoencoder (full), or "
            "a tiny one (TAESD, fast), which takes a tenth of the time and draws a little less "
            "finely. Auto is fast on processors for up to four steps, if it is here.",
        ),
    ] = "auto"
    variation: Annotated[
        Variation | None,
        Field(
            title="Variation",
            description="A second seed that is mixed into the first one's noise.",
        ),
    ] = None

    @model_validator(mode="after")
    def _guided_somewhere(self) -> Self:
        if self.guidance_start >= self.guidance_end:
            raise BadRequest(
                "Guidance begins after {start} of the steps and ends after {end}; the begin must "
                "come first. For none at all, set the guidance to 1.",
                start=self.guidance_start,
                end=self.guidance_end,
            )
        return self

    @model_validator(mode="after")
    def _short_parts(self) -> Self:
        if self.detail_fix is not None:
            self.detail_fix.check_lengths(self.prompt, self.negative_prompt)
        return self

    def uses(self) -> Iterator[Use]:
        yield from library_uses(self.model, self.loras)
        if self.hires is not None:
            yield from library_uses(self.hires.model)
        if self.from_picture is not None:
            yield from (Use("input", each) for each in self.from_picture.inputs())


class ChangeRequest(TextToImageRequest):
    """A picture that begins from another."""

    from_picture: Annotated[
        FromPicture, Field(title="From a picture", description="The picture to begin from.")
    ]


class ChangePicturesRequest(ChangeRequest):
    """The same change of one picture, or of several."""

    pictures: Annotated[
        tuple[InputId, ...],
        Field(
            max_length=MAX_PICTURES - 1,
            title="More pictures",
            description="The ids of uploaded pictures that are changed in the same way, in this "
            "order, after the one to begin from.",
        ),
    ] = ()
    own_sizes: Annotated[
        bool,
        Field(
            title="Each in its own proportions",
            description="Of several pictures each is painted in its own proportions, with about "
            "as many pixels as width and height have; otherwise all have that size.",
        ),
    ] = True

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        each = self.batch_count * self.batch_size
        if (count := len(self.all_pictures()) * each) > MAX_CHANGED:
            raise BadRequest(
                "{pictures} pictures with {each} results each are {count}; at most {limit} are "
                "painted at once. Send fewer pictures, or lower batch count and batch size.",
                pictures=len(self.all_pictures()),
                each=each,
                count=count,
                limit=MAX_CHANGED,
            )
        return self

    def alone(self, picture: str, size: tuple[int, int] | None = None) -> ChangeRequest:
        """The request that changes one of the pictures and no other.

        Args:
            picture: its id.
            size: width and height of the result; None: those that the request has.
        """
        fields = {name: getattr(self, name) for name in ChangeRequest.model_fields}
        fields["from_picture"] = self.from_picture.model_copy(update={"picture": picture})
        if size is not None:
            fields["width"], fields["height"] = size
        return ChangeRequest(**fields)

    def all_pictures(self) -> list[str]:
        """The ids of those that are changed, in their order."""
        return [self.from_picture.picture, *self.pictures]

    def uses(self) -> Iterator[Use]:
        yield from super().uses()
        yield from (Use("input", each) for each in self.pictures)
