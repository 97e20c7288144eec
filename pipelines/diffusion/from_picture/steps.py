"""How many steps are run, how long they take, and what is said of them. No torch here."""

from __future__ import annotations

from typing import Any

from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.requests import TextToImageRequest

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


def work_of(settings: TextToImageRequest, limit: int = DENSEST) -> tuple[float, float]:
    """What both passes take: steps that are run, times the pixels that are painted.

    Args:
        settings: with size and steps.
        limit: of steps that a schedule can have.

    Returns:
        Of the first pass and of the second, 0 where there is none.
    """
    hires, run = settings.hires, _count_run(settings, limit)
    first = float(run * settings.width * settings.height)
    if hires is None:
        return first, 0.0
    width, height = hires.size_for(settings.width, settings.height)
    _, second = count_steps(hires, hires.steps or settings.steps, limit)
    return first, float(second * width * height)


class StepCount:
    """Counts the evaluations of one batch among those of all, for the bar and in words.

    Fixing details counts as much again as painting, and a second pass longer than its steps say.

    Args:
        settings: of a picture of the batch, resolved.
        place: how many batches came before, and how many there are.
        apart: how many pictures of a batch are painted one after another.
        limit: of steps that the schedule can have.
    """

    def __init__(
        self, settings: TextToImageRequest, place: tuple[int, int], apart: int, limit: int
    ) -> None:
        self._settings, self._place, self._apart = settings, place, apart
        self._halves = 1 if settings.detail_fix is None else 2
        self._run = _count_run(settings, limit)
        self._work = work_of(settings, limit)
        hires = settings.hires
        self._later = 0
        if hires is not None:
            self._later = count_steps(hires, hires.steps or settings.steps, limit)[1]

    def progress(self, step: int, total: int, seen: Any = None) -> Progress:
        """After ``step`` of the batch's ``total`` evaluations.

        Args:
            seen: a preview, or what is done beside the main work.
        """
        before, count = self._place
        done, whole = self._halves * before * total + step, self._halves * count * total
        if isinstance(seen, Message):
            return Progress(done, whole, note=seen)
        words, work = self._words(step, total), self._at(step, total)
        return Progress(done, whole, seen, words=words, work=work)

    def _at(self, step: int, total: int) -> tuple[float, float] | None:
        """The work done and in all; None where all steps are alike."""
        first, second = self._work
        if not second or not total:
            return None
        turning = total * self._run / (self._run + self._later)  # evaluations of the first pass
        if step <= turning:
            done = first * step / turning if turning else 0.0
        else:
            done = first + second * (step - turning) / (total - turning)
        before, count = self._place
        return (self._halves * before * (first + second) + done,
                self._halves * count * (first + second))  # fmt: skip

    def _words(self, step: int, total: int) -> Message | None:
        """What is said of the step; None: as it is counted."""
        before, count = self._place
        settings, run = self._settings, self._run
        if run < settings.steps and not self._later and step:
            each = run * self._apart  # steps, of which some samplers need two evaluations for one
            at = -(-step * each // total)
            values = {
                "step": before * each + at,
                "total": count * each,
                "steps": settings.steps,
                "strength": settings.from_picture.strength,
            }
            if count * self._apart == 1:
                return Message("Step {step} of {total} (of {steps}, strength {strength})", **values)
            return Message(
                "Step {step} of {total} ({run} of {steps} each, strength {strength})",
                run=run,
                **values,
            )
        if self._halves == 2 and step:
            return Message("Step {step} of {total}", step=before * total + step,
                           total=count * total)  # fmt: skip
        return None


def _count_run(settings: TextToImageRequest, limit: int) -> int:
    """How many steps of the first pass are run."""
    asked = settings.from_picture
    if asked is None or asked.edit:
        return settings.steps
    return count_steps(asked, settings.steps, limit)[1]
