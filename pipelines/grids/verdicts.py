"""How much of what a prompt asks for a picture shows, where there is somebody who can tell."""

from __future__ import annotations

import numpy as np

from pipelines.core.cache import ModelCache
from pipelines.core.events import Picture
from pipelines.toybox.verdicts import count_right, read_prompt

JUDGE = "preprocessor:toybox_judge"
_SIDE = 128  # pixels: what the judge was trained on


def judge(event: Picture, cache: ModelCache) -> tuple[int, int]:
    """How much of what a picture's prompt asks for is right, and of how much; the judge knows the
    world of the starter alone."""
    made = event.request
    with cache.lease(made.model) as model:
        knows = model.entry.words is not None
    asked = read_prompt(made.prompt) if knows else None
    if asked is None or not asked.count:
        return 0, 0
    small = event.image.convert("RGB").resize((_SIDE, _SIDE))
    with cache.lease(JUDGE) as networks, networks.one_at_a_time:
        (verdict,) = networks.reader.read(np.array(small)[None])
    return count_right(asked, verdict), asked.count
