"""What can be asked of the engine that merges LoRAs.

No torch here: the page reads this before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from pipelines.core.engine import Request, Use
from pipelines.diffusion.lora.use import MAX_LORAS, MAX_NAME, LoraId, LoraUse, library_uses

MAX_RANK = 1024


class MergeRequest(Request):
    """Several LoRAs made into one, or worked into a model for good.

    Attributes:
        owner, id: filled in by the studio: in whose library the result is put, and under which id.
    """

    loras: Annotated[
        tuple[LoraUse, ...],
        Field(
            min_length=1,
            max_length=MAX_LORAS,
            title="LoRAs",
            description="What is merged, each with its weight.",
        ),
    ]
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            title="Name",
            description="What the result is called in the library.",
        ),
    ]
    model: Annotated[
        str | None,
        Field(
            max_length=200,
            title="Into the model",
            description="The base model that they become part of. Empty: they become one LoRA.",
        ),
    ] = None
    rank: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_RANK,
            title="Rank",
            description="Of the merged LoRA; a smaller one takes less room and is less exact. "
            "Empty: the sum of all ranks, which is exact.",
        ),
    ] = None
    owner: Annotated[str, Field(max_length=200)] = "local"
    id: LoraId | None = None

    def uses(self) -> Iterator[Use]:
        yield from library_uses(self.model, self.loras)
        if self.id is not None:
            yield Use("lora", self.id)
