"""What can be asked of the before-and-after sheet. No torch here: the page reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from pipelines.core.engines import Request, Use
from pipelines.core.errors import BadRequest
from pipelines.diffusion.lora.use import MAX_WEIGHT, LoraUse, library_uses
from pipelines.diffusion.requests import TextToImageRequest

MAX_PROMPTS, MAX_WEIGHTS = 8, 8
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)

Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]


class BeforeAfterRequest(Request):
    """The same prompts and seeds without and with what was learnt."""

    base: Annotated[
        TextToImageRequest,
        Field(
            title="Settings",
            description="What all pictures are painted with, on the base model. Prompt, batch and "
            "LoRAs are left out.",
        ),
    ]
    prompts: Annotated[
        tuple[Prompt, ...],
        Field(
            min_length=1,
            max_length=MAX_PROMPTS,
            title="Prompts",
            description="What is painted, one a line: a row of the sheet each.",
        ),
    ]
    lora: Annotated[
        LoraUse | None, Field(title="LoRA", description="What was learnt; its weight is left out.")
    ] = None
    model: Annotated[
        str | None,
        Field(
            max_length=200,
            title="Model",
            description="The model that was trained as a whole. Empty: a LoRA was learnt.",
        ),
    ] = None
    weights: Annotated[
        tuple[Weight, ...],
        Field(
            min_length=1,
            max_length=MAX_WEIGHTS,
            title="Weights",
            description="Of the LoRA: a column of the sheet each; 0 is without it.",
        ),
    ] = WEIGHTS

    @model_validator(mode="after")
    def _one_of_both(self) -> BeforeAfterRequest:
        if (self.lora is None) == (self.model is None):
            raise BadRequest("Name either a LoRA or a model that was trained.")
        return self

    def uses(self) -> Iterator[Use]:
        yield from self.base.uses()
        yield from library_uses(self.model, (self.lora,))

    def rows(self) -> list[list[TextToImageRequest]]:
        """The request of each cell: a row for each prompt, a column for each weight."""
        return [
            [
                self.base.model_copy(
                    update={"prompt": prompt, "batch_count": 1, "batch_size": 1, **changes}
                )
                for changes in self._columns()
            ]
            for prompt in self.prompts
        ]

    def _columns(self) -> list[dict]:
        if self.model is not None:
            return [{"loras": ()}, {"loras": (), "model": self.model}]
        uses = (
            self.lora.model_copy(update={"weight": weight, "text_weight": None})
            for weight in self.weights
        )
        return [{"loras": (use,) if use.weight else ()} for use in uses]
