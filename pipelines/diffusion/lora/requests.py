"""What can be asked of LoRAs: which ones a picture uses and how strongly; which ones are merged.

A prompt may name LoRAs itself, as A1111 reads it: ``<lora:name:0.8>``, or ``<lora:name>`` at weight
1. The tags stay in the prompt as it is kept, and are cut out of what the text encoder reads.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pipelines.errors import BadRequest, validated

if TYPE_CHECKING:
    from pipelines.diffusion.requests import TextToImageRequest

MAX_LORAS = 8
MAX_NAME = 100
MAX_WEIGHT = 4.0
MAX_RANK = 1024

LoraId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]

_TAG = re.compile(r"<lora:([^<>]*)>")


class LoraUse(BaseModel):
    """One LoRA or learned word of a picture.

    Attributes:
        id: filled in by the studio, for whoever asks; a client's own is never believed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            title="LoRA",
            description="Its name on the shelf.",
        ),
    ]
    weight: Annotated[
        float,
        Field(
            ge=-MAX_WEIGHT,
            le=MAX_WEIGHT,
            allow_inf_nan=False,
            title="LoRA weight",
            description="How strongly it works: 1 as it was trained, 0 not at all.",
        ),
    ] = 1.0
    id: LoraId | None = None


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


def uses_of(request: TextToImageRequest) -> tuple[LoraUse, ...]:
    """The LoRAs of a request: the listed ones, then those that only its prompt names.

    Where both name one, the prompt's weight counts; of two tags, the last.

    Raises:
        BadRequest: a tag cannot be read, stands in the negative prompt, or there are too many.
    """
    if tag := _TAG.search(request.negative_prompt):
        raise BadRequest(
            "{tag} stands in the negative prompt, where LoRAs have no effect. Put it into the "
            "prompt; a weight below 0 turns it round.",
            tag=tag[0][:80],
        )
    uses = {use.name: use for use in request.loras}
    for use in tags_in(request.prompt):
        known = uses.get(use.name)
        uses[use.name] = use if known is None else use.model_copy(update={"id": known.id})
    if len(uses) > MAX_LORAS:
        raise BadRequest(
            "{count} LoRAs are asked for; at most {limit} work together.",
            count=len(uses),
            limit=MAX_LORAS,
        )
    return tuple(uses.values())


def tags_in(prompt: str) -> list[LoraUse]:
    """What the tags of a prompt say, in their order.

    Raises:
        BadRequest: a tag has no name, no number for a weight, or one beyond ±4.

    >>> [(use.name, use.weight) for use in tags_in("a mug <lora:clay:0.8> <lora:soft>")]
    [('clay', 0.8), ('soft', 1.0)]
    """
    uses = []
    for tag in _TAG.finditer(prompt):
        name, _, weight = tag[1].partition(":")
        try:
            number = float(weight) if weight.strip() else 1.0
        except ValueError:
            number = None
        if not name.strip() or number is None:
            raise BadRequest(
                "{tag} cannot be read. Write <lora:name:0.8>, with a name of your shelf and a "
                "number between −{limit} and {limit}.",
                tag=tag[0][:80],
                limit=MAX_WEIGHT,
            )
        uses.append(validated(LoraUse, {"name": name.strip(), "weight": number}))
    return uses


def without_tags(prompt: str) -> str:
    """The prompt as the text encoder reads it.

    >>> without_tags("a mug<lora:clay:0.8> on a table")
    'a mug on a table'
    """
    return _TAG.sub("", prompt)


def with_tags(prompt: str, uses: Iterable[Mapping[str, object]]) -> str:
    """The prompt with a tag for each of ``uses`` (name and weight) that it does not name itself."""
    named = {tag[1].partition(":")[0].strip() for tag in _TAG.finditer(prompt)}
    further = [f"<lora:{use['name']}:{use['weight']:g}>" for use in uses
               if use["name"] not in named]  # fmt: skip
    return " ".join([prompt, *further] if prompt else further)


def worded(prompt: str, learned: Mapping[str, str]) -> str:
    """The prompt without tags, learned words replaced by what the tokenizer calls them."""
    text = without_tags(prompt)
    if not learned:
        return text
    tokens = {word.casefold(): token for word, token in learned.items()}
    words = "|".join(re.escape(word) for word in sorted(learned, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
    return pattern.sub(lambda match: tokens.get(match[0].casefold(), match[0]), text)
