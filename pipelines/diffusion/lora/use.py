"""A LoRA as a picture uses it, and the bounds of what can be asked of LoRAs.

No torch here: the page reads this before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field, StringConstraints

from pipelines.core.engine import StrictModel, Use
from pipelines.models.catalog import OWN

MAX_LORAS = 8
MAX_NAME = 100
MAX_WEIGHT = 4.0

LoraId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class LoraUse(StrictModel):
    """One LoRA or learned word of a picture.

    Attributes:
        text_weight: of the text encoders' modules; None: the same as ``weight``.
        id: filled in by the studio, for whoever asks; a client's own is never believed.
    """

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            title="LoRA",
            description="Its name in the library.",
        ),
    ]
    weight: Annotated[
        float,
        Field(
            ge=-MAX_WEIGHT,
            le=MAX_WEIGHT,
            title="LoRA weight",
            description="How strongly it works: 1 as it was trained, 0 not at all.",
        ),
    ] = 1.0
    text_weight: Annotated[
        float | None,
        Field(
            ge=-MAX_WEIGHT,
            le=MAX_WEIGHT,
            title="Text encoder weight",
            description="How strongly it works in the text encoder, if not as in the rest.",
        ),
    ] = None
    id: LoraId | None = None

    def weight_of(self, part: str) -> float:
        """How strongly it works in ``part`` of a model."""
        if part == "unet" or self.text_weight is None:
            return self.weight
        return self.text_weight

    @property
    def works(self) -> bool:
        """Whether it changes anything."""
        return bool(self.weight or self.text_weight)


def library_uses(model: str | None = None, loras: Iterable[LoraUse | None] = ()) -> Iterator[Use]:
    """What is named of a library: a model of one's own, and LoRAs whose ids are filled in."""
    if model is not None and model.startswith(OWN):
        yield Use("lora", model.removeprefix(OWN))
    yield from (Use("lora", lora.id) for lora in loras if lora is not None and lora.id is not None)
