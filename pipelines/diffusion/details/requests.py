"""What can be asked of the fixing of details: parts of a finished picture are found and repainted.

No torch here: the page reads these models before any weights or heavy libraries are loaded.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.core.engine import StrictModel
from pipelines.core.errors import BadRequest

Finder = Literal["toys"]
Order = Literal["confidence", "left", "centre", "area"]
MOST = 20  # parts of one picture
MAX_PROMPT = 10_000  # characters, with the picture's own prompt in it as often as it is named
_LONGEST_PART = 100  # characters of what a finder calls something


class DetailFix(StrictModel):
    """Which parts are found, and how each is repainted: at the model's own size, then put back."""

    finder: Annotated[
        Finder,
        Field(
            title="Find",
            description="What finds the parts. Toys: the starter's judge, which works offline.",
        ),
    ] = "toys"
    prompt: Annotated[
        str,
        Field(
            max_length=MAX_PROMPT,
            title="Prompt of the parts",
            description="[PROMPT] stands for the picture's own, [PART] for what was found, and "
            "[SEP] stands between the prompts of one part and the next. Empty: the picture's own.",
        ),
    ] = ""
    negative_prompt: Annotated[
        str,
        Field(
            max_length=MAX_PROMPT,
            title="Negative prompt of the parts",
            description="Likewise. Empty: the picture's own.",
        ),
    ] = ""
    confidence: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Confidence",
            description="Parts of which the finder is less sure are left as they are.",
        ),
    ] = 0.3
    order: Annotated[
        Order,
        Field(
            title="Order",
            description="Which parts come first: the surest, the leftmost, those in the middle, or "
            "the largest.",
        ),
    ] = "confidence"
    most: Annotated[
        int,
        Field(
            ge=0,
            le=MOST,
            title="At most",
            description="How many parts are repainted, the first ones. 0: all that are found.",
        ),
    ] = 0
    grow: Annotated[
        int,
        Field(
            ge=-128,
            le=128,
            title="Grow",
            description="Pixels by which each part is made larger, or smaller below 0.",
        ),
    ] = 4
    strength: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Strength in the parts",
            description="How much changes in each part.",
        ),
    ] = 0.4
    mask_blur: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            title="Blur around the parts",
            description="Pixels over which new and old go into one another.",
        ),
    ] = 4
    padding: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            title="Padding around the parts",
            description="Pixels around each part that are painted along.",
        ),
    ] = 32

    def prompt_of(self, own: str, part: str, number: int) -> str:
        """The prompt of the part with this number, from 0; see the field."""
        return _fill(self.prompt, own, part, number)

    def negative_prompt_of(self, own: str, part: str, number: int) -> str:
        """Likewise."""
        return _fill(self.negative_prompt, own, part, number)

    def check_lengths(self, prompt: str, negative_prompt: str) -> None:
        """Refuses what would become too long with a picture's own prompts in it."""
        for template, own in ((self.prompt, prompt), (self.negative_prompt, negative_prompt)):
            for text in template.split("[SEP]"):
                _check_length(text, own, "x" * _LONGEST_PART)


def _fill(template: str, own: str, part: str, number: int) -> str:
    texts = template.split("[SEP]")
    text = texts[min(number, len(texts) - 1)].strip()
    _check_length(text, own, part)
    return text.replace("[PROMPT]", own).replace("[PART]", part) if text else own


def _check_length(text: str, own: str, part: str) -> None:
    """Raises BadRequest before anything is put together: a few kilobytes can ask for gigabytes."""
    length = len(text) + text.count("[PROMPT]") * len(own) + text.count("[PART]") * len(part)
    if length > max(MAX_PROMPT, len(own)):
        raise BadRequest(
            "The prompt of the parts would have {value} characters with all that it names; at most "
            "{limit} are taken. Write [PROMPT] or [PART] into it less often.",
            value=length,
            limit=MAX_PROMPT,
        )
