"""The texts that come along, cut into tokens; see ``assets/texts/README.md``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.core.errors import BadRequest
from pipelines.core.paths import ASSETS

FOLDER = ASSETS / "texts"
CALIBRATION, HELD_OUT = "sherlock_holmes.txt", "northanger_abbey.txt"
# As in the paper, which takes 10 samples of 128 tokens from books (section 4.1).
SAMPLES, SAMPLE_TOKENS = 10, 128


def tokens_of(tokenizer: Any, file: str) -> Tensor:
    """(T,) int64: a whole text, without special tokens."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor(ids, dtype=torch.long)


def calibration_batches(
    tokenizer: Any, samples: int = SAMPLES, length: int = SAMPLE_TOKENS
) -> list[Tensor]:
    """``samples`` pieces of the calibration text, spread evenly, as batches (1, ``length``).

    Raises:
        BadRequest: the text has fewer tokens.
    """
    ids = tokens_of(tokenizer, CALIBRATION)
    if len(ids) < samples * length:
        raise BadRequest(
            "The text has {tokens} tokens; {needed} are needed.",
            tokens=len(ids),
            needed=samples * length,
        )
    starts = [n * (len(ids) // samples) for n in range(samples)]
    return [ids[start : start + length][None] for start in starts]
