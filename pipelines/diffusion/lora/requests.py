"""What can be asked of the engine that merges LoRAs.

No torch here: the page reads this before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.diffusion.lora.use import MAX_LORAS, MAX_NAME, LoraId, LoraUse

MAX_RANK = 1024


class MergeRequest(BaseModel):
    """Several LoRAs made into one, or worked into a model for good.

    Attributes:
        owner, id: filled in by the studio: on whose shelf the result is put, and under which id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
            description="What the result is called on the shelf.",
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
