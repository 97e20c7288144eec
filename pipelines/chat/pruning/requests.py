"""What can be asked of a language model that is to become shorter: bounds, defaults, help texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pipelines.chat.entries import OWN
from pipelines.core.engine import Request, Use

MAX_BLOCKS = 200  # of a model; the largest public ones have 126
MAX_CURVE = 12  # points
MAX_HEAL_MINUTES = 24 * 60

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Criterion = Literal["magnitude", "taylor", "perplexity"]
CRITERIA: tuple[Criterion, ...] = ("magnitude", "taylor", "perplexity")
Method = Literal["depth", "width"]


class ScoreRequest(Request):
    """How important is each block? Field titles and descriptions are the page's labels."""

    model: Annotated[
        str,
        Field(max_length=200, title="Model", description="The language model that is shortened."),
    ]
    criterion: Annotated[
        Criterion,
        Field(
            title="Criterion",
            description="Perplexity: how much worse a text is read without the block; "
            "slowest. Taylor: weights times gradients. Magnitude: the weights alone, at once.",
        ),
    ] = "perplexity"
    guard: Annotated[
        bool,
        Field(
            title="Guard (+)",
            description="Never drops the first four and the last two blocks. Meant for magnitude "
            "and Taylor; for blocks only.",
        ),
    ] = False

    def uses(self) -> Iterator[Use]:
        if self.model.startswith(OWN):
            yield Use("chat_model", self.model.removeprefix(OWN))


class PruneRequest(ScoreRequest):
    """A shorter or narrower model, measured beside the one it is made from."""

    pruning: Annotated[
        Id,
        Field(
            title="Pruning",
            description="Where the work is kept. The same one again goes on from its last "
            "checkpoint.",
        ),
    ]
    owner: Annotated[
        str, Field(max_length=200, title="Owner", description="Whose the new model is.")
    ] = "local"
    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
        Field(title="Model name", description="What the new model is called in the list."),
    ]
    method: Annotated[
        Method,
        Field(
            title="What goes",
            description="Depth: whole blocks; faster nearly in proportion. Width: heads and "
            "feed-forward channels of every block, by magnitude or Taylor.",
        ),
    ] = "depth"
    blocks: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_BLOCKS,
            title="Blocks to drop",
            description="How many of the least important blocks go (depth).",
        ),
    ] = 3
    share: Annotated[
        float,
        Field(
            ge=0,
            le=0.9,
            title="Share to take out",
            description="Of the heads and channels of every block, the least important (width).",
        ),
    ] = 0.2
    heal_minutes: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_HEAL_MINUTES,
            title="Healing, minutes",
            description="Trains a LoRA so that the rest takes over what the dropped parts did. "
            "0: none.",
        ),
    ] = 0.0

    def uses(self) -> Iterator[Use]:
        yield from super().uses()
        yield Use("pruning", self.pruning)


class CurveRequest(ScoreRequest):
    """Perplexity and speed against the number of blocks dropped."""

    blocks: Annotated[
        tuple[Annotated[int, Field(ge=0, le=MAX_BLOCKS)], ...],
        Field(
            min_length=1,
            max_length=MAX_CURVE,
            title="Blocks dropped",
            description="Each number is one point of the curve.",
        ),
    ] = (0, 3, 6, 9)
