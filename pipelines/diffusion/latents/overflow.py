"""What is said where the numbers of a model overflow: a picture of them would be black."""

from __future__ import annotations

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.diffusion.requests import TextToImageRequest


def overflow(settings: TextToImageRequest, guided: bool) -> UserError:
    """The sentence for pixels that are no numbers; ``guided``: the guidance had a part in them."""
    sampler = settings.sampler or Message("the model's own sampler")
    if names := [use.name for use in settings.loras if use.works]:
        return UserError(
            "The numbers overflowed with {sampler}, {steps} steps and the LoRAs {names}, so there "
            "is no picture. Lower their weights, or leave one out; one of them may be damaged.",
            sampler=sampler,
            steps=settings.steps,
            names=", ".join(names),
        )
    if not guided:
        return UserError(
            "The numbers overflowed with {sampler} and {steps} steps, so there is no picture. "
            "Take another sampler or another number of steps.",
            sampler=sampler,
            steps=settings.steps,
        )
    return UserError(
        "The numbers overflowed with {sampler}, {steps} steps and guidance {guidance}, so "
        "there is no picture. Lower the guidance or take another sampler.",
        sampler=sampler,
        steps=settings.steps,
        guidance=settings.guidance,
    )
