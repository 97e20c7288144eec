"""How the next token is chosen from a model's logits, as llama.cpp does it, for one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.chat.requests import Sampling

if TYPE_CHECKING:
    import torch


def reshape(
    logits: torch.Tensor,
    sampling: Sampling,
    previous_ids: Sequence[int] | torch.Tensor = (),
    *,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
) -> torch.Tensor:
    """The probabilities that a token is drawn with.

    Applied in this order: repetition penalty (Keskar et al. 2019, section 4.1), presence and
    frequency penalties, top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024),
    temperature. So a temperature makes no token possible that the cuts have taken away;
    transformers' ``generate`` has it before them.

    Args:
        logits: (V,), any floating dtype; not changed.
        sampling: a value that is None counts as off (temperature 1).
        previous_ids: tokens that were said already, for the penalties; for the repetition penalty
            repeated ones count once.
        presence_penalty: taken from the logit of every token that was said.
        frequency_penalty: the same, as many times as it was said.

    Returns:
        (V,) float32, sum 1. Temperature 0: one-hot of the first of the likeliest.
    """
    import torch

    scores = _penalise(logits.float(), sampling.repetition_penalty, previous_ids)
    scores = _lower(scores, presence_penalty, frequency_penalty, previous_ids)
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    if temperature == 0:  # no cut takes the likeliest away
        return torch.zeros_like(scores).index_fill_(0, scores.argmax(), 1.0)
    top_k, top_p, min_p = sampling.top_k, sampling.top_p, sampling.min_p
    if top_k and top_k < len(scores):
        kept, ids = scores.topk(top_k)
    elif top_p is not None and top_p < 1:
        kept, ids = scores.sort(descending=True, stable=True)
    else:
        kept, ids = scores, None  # nothing below needs an order
    if top_p is not None and top_p < 1:
        odds = kept.softmax(0)
        before = odds.cumsum(0) - odds  # of all likelier ones
        before[0] = -1.0  # the likeliest stays, at a top-p of 0 too
        kept = kept.masked_fill(before >= top_p, -torch.inf)
    if min_p:
        odds = kept.softmax(0)
        kept = kept.masked_fill(odds < min_p * odds.max(), -torch.inf)
    # The highest becomes 0: a temperature of 0.0001 would make infinities of large logits.
    odds = ((kept - kept.max()) / temperature).softmax(0)
    return odds if ids is None else torch.zeros_like(scores).scatter_(0, ids, odds)


def add_biases(logits: torch.Tensor, biases: Mapping[int, float]) -> torch.Tensor:
    """The logits (V,) with ``biases`` added to those of some tokens, by their ids, as float32."""
    import torch

    scores = logits.float()
    if not biases:
        return scores
    ids = torch.tensor(list(biases), device=scores.device)
    return scores.index_add(0, ids, torch.tensor(list(biases.values()), device=scores.device))


def draw(probabilities: torch.Tensor, generator: torch.Generator) -> int:
    """One token's id, drawn by ``probabilities`` (V,).

    One uniform number through the inverse of the cumulated probabilities: a generator on the CPU
    gives the same token whichever device the probabilities are on.
    """
    import torch

    cumulated = probabilities.double().cumsum(0)
    uniform = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device)
    # In (0, total]: whatever has probability 0 adds nothing and is stepped over.
    target = (1 - uniform).to(cumulated.device) * cumulated[-1]
    return int(torch.searchsorted(cumulated, target))


def _penalise(
    scores: torch.Tensor, penalty: float | None, previous_ids: Sequence[int] | torch.Tensor
) -> torch.Tensor:
    import torch

    if penalty in (None, 1) or not len(previous_ids):
        return scores
    ids = torch.as_tensor(previous_ids, device=scores.device).unique()
    said = scores[ids]
    return scores.index_copy(0, ids, torch.where(said < 0, said * penalty, said / penalty))


def _lower(
    scores: torch.Tensor,
    presence: float,
    frequency: float,
    previous_ids: Sequence[int] | torch.Tensor,
) -> torch.Tensor:
    import torch

    if not (presence or frequency) or not len(previous_ids):
        return scores
    ids = torch.as_tensor(previous_ids, device=scores.device)
    ids, counts = ids.unique(return_counts=True)
    return scores.index_add(0, ids, -(presence + frequency * counts.to(scores.dtype)))
