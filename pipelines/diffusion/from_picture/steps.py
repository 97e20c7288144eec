"""How many steps are run of a schedule when a picture is begun from. No torch here."""

from __future__ import annotations

from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.hires.requests import Hires

DENSEST = 500  # steps of a schedule: denser ones round neighbours to the same timestep
FEW_STEPS = 8  # up to here all steps are run, unless the request says otherwise


def count_steps(asked: FromPicture | Hires, steps: int, limit: int) -> tuple[int, int]:
    """How many steps the schedule has, and how many of them are run: the last ones.

    Args:
        steps: as asked.
        limit: of steps that the schedule can have.

    Returns:
        Both; of strength 0 no step is run.
    """
    if asked.strength == 0:
        return steps, 0
    every = steps <= FEW_STEPS if asked.all_steps is None else asked.all_steps
    spread = max(steps, int(steps / asked.strength)) if every else steps
    if every and spread <= limit:
        return spread, steps  # the last ones of it, as A1111 has it
    total = min(spread, max(steps, limit))
    # 50 · 0.58 is a hair below 29.
    run = max(1, int(total * asked.strength + 1e-6))
    return total, min(run, steps)
