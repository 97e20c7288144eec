"""The loss on noise that no step draws: it tells whether a training has learnt or fallen apart.

The loss of the steps themselves jumps with noise and timestep from one to the next. Here photos,
noise and timesteps are the same before the first step and after the last, so that the two numbers
can be compared.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from pipelines.core.messages import Message
from pipelines.dreambooth.data.latent_dataset import Batch, Example, generator_for
from pipelines.dreambooth.loss import Noising

DRAWS = 8  # photos, each with one timestep, spread evenly over all of them
# Times the loss before. Seen on the starter: 0.8 to 1.02 of what paints its subject, 1.6 and more
# of what paints blobs.
FELL_APART = 1.3
_STREAM = 5  # of the random numbers; the steps have others


@torch.no_grad()
def held_out_loss(
    network: nn.Module,
    photos: Sequence[Sequence[Example]],
    noising: Noising,
    conditions: Callable[[Batch], dict[str, Any]],
    seed: int,
    device: str,
) -> float:
    """The mean squared error on the first photos; draws nothing from the global generators.

    Args:
        conditions: what the network is given of a batch besides latents and timesteps.
    """
    losses = []
    with _without_dropout(network):
        for draw in range(DRAWS):
            example = photos[draw % len(photos)][0]
            batch = Batch(example.mean[None], [example.caption], 1, example.size)
            generator = generator_for(seed, _STREAM, draw)
            noise = torch.randn(batch.latents.shape, generator=generator)
            t = torch.tensor([int((draw + 0.5) / DRAWS * noising.steps)])
            x0, noise, t = (each.to(device) for each in (batch.latents, noise, t))
            prediction = network(noising.add_noise(x0, noise, t), t, **conditions(batch))
            target = noising.target(x0, noise, t)
            losses.append(float((prediction.float() - target).square().mean()))
    return sum(losses) / len(losses)


def remark_on(before: float | None, after: float, rate: float) -> Message | None:
    """What is to be said of a training by its loss before and after it; None: nothing.

    Args:
        before: None where an earlier version began the training and has not measured it.
        rate: the learning rate.
    """
    if math.isfinite(after) and (before is None or after <= FELL_APART * before):
        return None
    return Message(
        "The training fell apart: on its own photos the error is {after} now and was {before} "
        "before it. The learning rate {rate} is most likely too high. Duplicate the training with "
        "a tenth of it.",
        after=f"{after:.3g}",
        before="?" if before is None else f"{before:.3g}",
        rate=f"{rate:g}",
    )


@contextlib.contextmanager
def _without_dropout(network: nn.Module) -> Iterator[None]:
    """Without dropout; afterwards each module is as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
